package main

import (
	"bytes"
	"strings"
	"testing"
)

func TestPick(t *testing.T) {
	for _, a := range applets {
		for _, argv := range [][]string{{"/usr/bin/" + a.name, "x"}, {"hookguest", a.name, "x"}, {"/usr/bin/hookguest", a.name, "x"}} {
			got, args, ok := pick(argv)
			if !ok || got.name != a.name || len(args) != 1 || args[0] != "x" {
				t.Errorf("pick(%q) = %q %q %v", argv, got.name, args, ok)
			}
		}
	}
}

func TestHelp(t *testing.T) {
	tests := []struct {
		argv           []string
		status         int
		stdout, stderr string
	}{
		{[]string{"hookguest", "help"}, 0, "Applets:", ""},
		{[]string{"hookguest"}, 2, "", "usage:"},
		{[]string{}, 2, "", "usage:"},
		{[]string{"hookguest", "nonsense"}, 2, "", `no applet "nonsense"`},
	}
	for _, test := range tests {
		var out, err bytes.Buffer
		if status := run(test.argv, &out, &err); status != test.status {
			t.Errorf("run(%q) = %d, want %d", test.argv, status, test.status)
		}
		if !strings.Contains(out.String(), test.stdout) || !strings.Contains(err.String(), test.stderr) {
			t.Errorf("run(%q) printed %q and %q", test.argv, &out, &err)
		}
		if test.stdout == "" && out.Len() > 0 {
			t.Errorf("run(%q) wrote to stdout: %q", test.argv, &out)
		}
	}
}
