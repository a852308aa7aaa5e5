package bootlog

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

func TestLog(t *testing.T) {
	var console, file, kmsg bytes.Buffer
	log := &Log{Console: &console, File: &file, Kmsg: &kmsg, Now: func() time.Duration { return 3214 * time.Millisecond }}
	log.Printf("network: eth0 %s", "10.0.2.15/24")
	log.Debugf("quiet")
	if got, want := console.String(), "[  3.214] hooksmith: network: eth0 10.0.2.15/24\n"; got != want {
		t.Errorf("console %q, want %q", got, want)
	}
	if got, want := file.String(), "[  3.214] hooksmith: network: eth0 10.0.2.15/24\n[  3.214] hooksmith: quiet\n"; got != want {
		t.Errorf("file %q, want %q", got, want)
	}
	if got, want := kmsg.String(), "<7>hooksmith: network: eth0 10.0.2.15/24\n<7>hooksmith: quiet\n"; got != want {
		t.Errorf("kmsg %q, want %q", got, want)
	}
	(&Log{}).Printf("a zero Log is silent")
}

func TestClean(t *testing.T) {
	tests := []struct{ in, want string }{
		{"plain", "plain"},
		{" two\nlines\n", "two|lines"},
		{"\x1b[31mred\x07\u009b", "[31mred"},
		{"tab\there é", "tab here é"},
		{strings.Repeat("é", maxLine), strings.Repeat("é", maxLine/2) + "..."},
		{"x" + strings.Repeat("é", maxLine), "x" + strings.Repeat("é", (maxLine-1)/2) + "..."},
	}
	for _, test := range tests {
		if got := Clean(test.in); got != test.want {
			t.Errorf("Clean(%.40q) = %.40q (%d bytes), want %.40q", test.in, got, len(got), test.want)
		}
	}
}

func TestUptime(t *testing.T) {
	if Uptime() <= 0 {
		t.Error("no uptime")
	}
}
