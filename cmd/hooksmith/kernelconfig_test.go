package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"hooksmith/cmd/hooksmith/internal/kernelconfig"
	"hooksmith/kernel/compile"
	"hooksmith/kernel/kconfig"
)

// workspace is one whose make changes nothing; kerneltest has the real one.
type workspace map[string]string

func (w workspace) Run(context.Context, io.Writer, ...string) error             { return nil }
func (w workspace) Terminal(context.Context, compile.Terminal, ...string) error { return nil }
func (w workspace) ReadFile(_ context.Context, name string) ([]byte, error) {
	return []byte(w[name]), nil
}
func (w workspace) WriteFile(_ context.Context, name string, data []byte) error {
	w[name] = string(data)
	return nil
}

// TestKernelConfigFinish: what is written where, and what is said about it.
func TestKernelConfigFinish(t *testing.T) {
	const saved = "CONFIG_X=y\n"
	change := []kconfig.Change{{Name: "X", From: "n", To: "y"}}
	for _, tt := range []struct {
		name    string
		there   string // what the file has; "": it is not there
		output  bool
		dryRun  bool
		changes []kconfig.Change
		want    string // what it has then
		says    string
	}{
		{name: "no change", there: "old", want: "old", says: "nothing changed: FILE stays as it is"},
		{name: "no change, no file", says: "nothing changed: FILE stays as it is"},
		{name: "no change, another file", output: true, want: saved, says: "written to FILE"},
		{name: "no change, over another file", there: "old", output: true, want: saved, says: "written to FILE"},
		{name: "no change, and the other file says so", there: saved, output: true, want: saved, says: "FILE says so already"},
		{name: "no change, dry run", output: true, dryRun: true, says: "nothing would change; nothing is written to FILE"},
		{name: "change", there: "old", changes: change, want: saved, says: "1 symbols changed; written to FILE"},
		{name: "change, dry run", there: "old", dryRun: true, changes: change, want: "old", says: "1 symbols would change; nothing is written to FILE"},
		{name: "change, another file", output: true, changes: change, want: saved, says: "1 symbols changed; written to FILE"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "new.config")
			if tt.there != "" {
				if err := os.WriteFile(path, []byte(tt.there), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			o := kernelConfigCommand{dryRun: tt.dryRun}
			if tt.output {
				o.output = path
			}
			file, err := kernelconfig.OpenOutput(path)
			if err != nil {
				t.Fatal(err)
			}
			s, err := kernelconfig.Start(t.Context(), workspace{".config": "CONFIG_X=y\n", "defconfig": saved}, "x86_64")
			if err != nil {
				t.Fatal(err)
			}
			var out, errs bytes.Buffer
			a := newApp(strings.NewReader(""), &out, &errs, func(string) (string, bool) { return "", false })
			if err := o.finish(t.Context(), a, s, file, tt.changes); err != nil {
				t.Fatal(err)
			}
			if got, _ := os.ReadFile(path); string(got) != tt.want {
				t.Errorf("the file has %q, want %q", got, tt.want)
			}
			if says := strings.ReplaceAll(errs.String(), path, "FILE"); !strings.Contains(says, tt.says) {
				t.Errorf("says %q, want %q", says, tt.says)
			}
			if (out.Len() > 0) != (len(tt.changes) > 0) {
				t.Errorf("prints %q", out.String())
			}
		})
	}
}
