package console

import (
	"errors"
	"io"
	"strings"
	"testing"
	"time"
)

func TestConsole(t *testing.T) {
	c := New()
	script := []string{"\x1b[2J\x1b", "[0mboot\r\nlog", "in: ", "ready (over", "lay2)\r\n\x1bc", "ready again\n"}
	go func() {
		for _, s := range script {
			_, _ = io.WriteString(c, s)
		}
		c.End(errors.New("QEMU ended"))
	}()
	for _, tt := range []struct{ pattern, want, err string }{
		{`^login: `, "login: ", ""},
		{`ready \((\w+).*$`, "overlay2", ""}, // not "over"
		{`^boot`, "", "QEMU ended"},          // before what has matched already
		{`ready (.*)`, "again", ""},
		{`ready`, "", `waiting for "ready": QEMU ended`},
	} {
		got, err := c.Expect(tt.pattern, 10*time.Second)
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%s: %v, want %q", tt.pattern, err, tt.err)
			}
			continue
		}
		if err != nil || got[len(got)-1] != tt.want {
			t.Errorf("%s: %q, %v, want %q", tt.pattern, got, err, tt.want)
		}
	}
	if got := c.Tail(2); got != "login: ready (overlay2)\nready again" {
		t.Errorf("tail: %q", got)
	}
}

func TestConsoleGivesUp(t *testing.T) {
	c := New()
	if _, err := c.Expect("never", time.Millisecond); err == nil || !strings.Contains(err.Error(), "not within 1ms") {
		t.Errorf("deadline: %v", err)
	}
	_, _ = io.WriteString(c, "[    1.0] Kernel panic - not syncing: No working init found.\n")
	if _, err := c.Expect("docker", time.Minute); err == nil || !strings.Contains(err.Error(), "No working init") {
		t.Errorf("panic: %v", err)
	}
	if _, err := c.Expect("Kernel panic", time.Minute); err != nil {
		t.Errorf("a panic that is asked for: %v", err)
	}
}
