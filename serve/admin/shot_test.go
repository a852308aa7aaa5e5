package admin

import (
	"os"
	"testing"
	"time"
)

func TestShot(t *testing.T) {
	if os.Getenv("SHOT") == "" {
		t.Skip()
	}
	s := newScene(t)
	s.day()
	s.status.Files[0].Error = "/etc/hooksmith/hardware.csv:7:12: mac: \"52:54:00:zz\" is not a MAC address"
	if err := os.WriteFile("/tmp/time-shot-url", []byte(s.server.URL), 0o600); err != nil {
		t.Fatal(err)
	}
	time.Sleep(10 * time.Minute)
}
