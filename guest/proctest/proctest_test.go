package proctest

import (
	"strings"
	"testing"
)

func TestProcess(t *testing.T) {
	p := Start(t, []string{"WORD=two"}, "sh", "-c", `echo one; echo $WORD >&2; trap 'echo bye; exit' TERM; while :; do sleep 0.1; done`)
	_, next := p.Await(0, "one")
	if line, _ := p.Await(next-1, "t"); line != "two" {
		t.Errorf("line %q", line)
	}
	if p.PID() == 0 || p.Child("sleep") == p.PID() {
		t.Errorf("pid %d", p.PID())
	}
}

// TestLastWords: what a program says directly before it ends is found.
func TestLastWords(t *testing.T) {
	for range 20 {
		p := Start(t, nil, "sh", "-c", "echo a; echo last")
		if line, next := p.Await(0, "last"); line != "last" || next != 2 {
			t.Errorf("line %d %q", next, line)
		}
		p.Stop()
		if p.PID() != 0 || !strings.HasSuffix(p.Output(), "last") {
			t.Errorf("pid %d, output %q", p.PID(), p.Output())
		}
	}
}

// TestInner signals the program and not the shell around it.
func TestInner(t *testing.T) {
	p := StartInner(t, nil, "sh", "-c", `sh -c 'trap "exit 0" TERM; echo ready; while :; do sleep 0.1; done'; echo outer ends`)
	p.Await(0, "ready")
	p.Stop()
	if !strings.Contains(p.Output(), "outer ends") {
		t.Errorf("output %q", p.Output())
	}
}
