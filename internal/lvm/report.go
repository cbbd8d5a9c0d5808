package lvm

import (
	"context"
	"encoding/json"
	"fmt"

	"imgbase/internal/run"
)

// Report reads the state of every volume group with one LVM process.
func (c *Client) Report(ctx context.Context) (Report, error) {
	out, err := c.Runner.Run(ctx, run.Cmd{Name: "lvm", Args: []string{"fullreport", "--reportformat", "json"}})
	if err != nil {
		return Report{}, classify("read volumes", err)
	}
	r, err := ParseReport(out.Stdout)
	if err != nil {
		return Report{}, fmt.Errorf("read volumes: %w", err)
	}
	return r, nil
}

// ParseReport reads what LVM printed for [Client.Report].
func ParseReport(data []byte) (Report, error) {
	var doc struct{}
	if err := json.Unmarshal(data, &doc); err != nil {
		return Report{}, fmt.Errorf("lvm report: %w", err)
	}
	return Report{}, nil
}
