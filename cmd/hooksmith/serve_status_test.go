package main

import (
	"strings"
	"testing"
	"time"

	"hooksmith/serve/timeline"
)

// What is to be copied can be: every line of it is one.
func TestPrintMachines(t *testing.T) {
	machine := timeline.Machine{MAC: "52:54:00:12:34:56", State: timeline.Booting, Problems: []timeline.Problem{{
		Severity: "info", Text: "unknown", Do: "Add it.\x1b[2J",
		Copy: []timeline.Snippet{{Label: "hardware.csv", Text: "n1,,,\n"}, {Label: "YAML, below machines:", Text: "- mac: x\n  ip: y\n"}},
	}}}
	var b strings.Builder
	if err := printMachines(&b, []timeline.Machine{machine}, time.Now()); err != nil {
		t.Fatal(err)
	}
	want := "\n52:54:00:12:34:56: info: unknown\n  Add it.\uFFFD[2J\n  hardware.csv: n1,,,\n  YAML, below machines:\n    - mac: x\n      ip: y\n"
	if got := b.String(); !strings.HasSuffix(got, want) {
		t.Errorf("got %q, want at its end %q", got, want)
	}
}
