// Command imgbase keeps a host's system as read-only bases and writable
// layers on LVM thin volumes. Package host says what it does.
package main

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"syscall"

	"golang.org/x/term"

	"imgbase/internal/cli"
	"imgbase/internal/config"
	"imgbase/internal/durable"
	"imgbase/internal/filesystem"
	"imgbase/internal/host"
	"imgbase/internal/image"
	"imgbase/internal/mount"
	"imgbase/internal/run"
)

// version is set by the linker.
var version = "dev"

func main() {
	ctx, stop := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	go func() {
		<-signals
		stop(cli.ErrStopped)
	}()
	os.Exit(cli.Main(ctx, cli.Env{
		Args: os.Args[1:], Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		Root: os.Geteuid() == 0, Term: term.IsTerminal(int(os.Stderr.Fd())), Version: version,
		Open: open, Isolate: mount.Isolate,
		Config: func() (config.Config, []string, error) { return config.Load("/") },
	}))
}

// open wires the host to this machine.
func open(log *slog.Logger, observe func(host.Event)) *host.Host {
	mounter, runner := mount.OS{}, run.OS{Log: log}
	return host.New(host.Config{
		Root: "/", Runner: runner, Mounter: mounter, Files: durable.OS{},
		Filesystems: filesystem.Tools{Runner: runner, Mounter: mounter},
		Machine:     runtime.GOARCH, Program: "/proc/self/exe", Log: log, Observe: observe,
		OpenImage: func(ctx context.Context, path string) (image.Source, error) {
			return image.OpenLiveimg(ctx, mounter, path)
		},
	})
}
