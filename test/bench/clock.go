package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"time"
)

// clock runs on the host under test: N rounds of the commands given, each one
// a shell's word list. It prints the samples as JSON, one list a command.
func clock(ctx context.Context, args []string) error {
	if len(args) < 2 {
		return errors.New("clock: want a number of rounds and a command or more")
	}
	rounds, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	commands := args[1:]
	samples := make([][]sample, len(commands))
	// One round more: the first one warms the caches and is not counted.
	for round := range rounds + 1 {
		for i := range commands {
			way := (i + round) % len(commands)
			// exec: the shell's own process becomes the command.
			s, err := measure(ctx, "/bin/sh", "-c", "exec "+commands[way]+" >/dev/null")
			if err != nil {
				return fmt.Errorf("%s: %w", commands[way], err)
			}
			if round > 0 {
				samples[way] = append(samples[way], s)
			}
		}
	}
	return json.NewEncoder(os.Stdout).Encode(samples)
}

// measure runs a program to its end.
func measure(ctx context.Context, name string, args ...string) (sample, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	start := time.Now()
	out, err := cmd.CombinedOutput()
	took := time.Since(start)
	if err != nil {
		return sample{}, fmt.Errorf("%w: %s", err, out)
	}
	return sample{Wall: took, CPU: cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()}, nil
}
