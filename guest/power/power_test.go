package power

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestRequested(t *testing.T) {
	tests := []struct {
		signal unix.Signal
		want   Action
	}{
		{unix.SIGTERM, Reboot}, {unix.SIGINT, Reboot}, {unix.SIGUSR1, Halt}, {unix.SIGUSR2, Poweroff}, {unix.SIGPWR, Poweroff},
		{37, Halt}, {38, Poweroff}, {39, Reboot}, {unix.SIGHUP, ""}, {unix.SIGCHLD, ""},
	}
	for _, test := range tests {
		if got, ok := Requested(test.signal); got != test.want || ok != (test.want != "") {
			t.Errorf("Requested(%v) = %q, %v", test.signal, got, ok)
		}
	}
	if len(Signals()) != len(requests) {
		t.Error("Signals lacks some")
	}
}

func TestDoRefusesNonsense(t *testing.T) {
	if Do("explode") == nil || Ask("explode") == nil {
		t.Error("accepted")
	}
}

func TestApplet(t *testing.T) {
	if err := Applet(Reboot)(t.Context(), []string{"--now"}, io.Discard, io.Discard); err == nil || !strings.Contains(err.Error(), "usage: reboot") {
		t.Errorf("error %v", err)
	}
	for text, want := range map[string]bool{"/init\x00": true, "init\x00--x\x00": true, "/usr/bin/hookguest\x00network\x00": false, "": false} {
		file := filepath.Join(t.TempDir(), "cmdline")
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := isInit(file); (err == nil) != want {
			t.Errorf("isInit(%q): %v", text, err)
		}
	}
}

func event(kind, code uint16, value uint32) []byte {
	b := make([]byte, eventSize)
	binary.NativeEndian.PutUint16(b[16:], kind)
	binary.NativeEndian.PutUint16(b[18:], code)
	binary.NativeEndian.PutUint32(b[20:], value)
	return b
}

func TestPressed(t *testing.T) {
	press, release, other, sync := event(evKey, keyPower, 1), event(evKey, keyPower, 0), event(evKey, 30, 1), event(0, 0, 0)
	tests := []struct {
		name   string
		events []byte
		want   bool
	}{
		{"press", press, true}, {"release", release, false}, {"other key", other, false}, {"nothing", nil, false}, {"part", press[:eventSize-1], false},
		{"among others", append(append(append([]byte{}, other...), sync...), press...), true},
	}
	for _, test := range tests {
		if got := pressed(test.events); got != test.want {
			t.Errorf("%s: %v", test.name, got)
		}
	}
}

func TestButtonIgnoresOtherFiles(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "event0"), press(), 0o644); err != nil {
		t.Fatal(err)
	}
	b := &Button{Pressed: func(string) { t.Error("pressed") }}
	b.Scan(dir)
	b.Add(filepath.Join(dir, "absent"))
	if len(b.open) != 0 {
		t.Errorf("listening to %v", b.open)
	}
}

func press() []byte { return event(evKey, keyPower, 1) }

func TestAppear(t *testing.T) {
	tests := map[string]func(path string) error{
		"created": func(path string) error { return os.WriteFile(path, nil, 0o644) },
		"a link":  func(path string) error { return os.Symlink("/nonexistent", path) },
		"moved": func(path string) error {
			return errors.Join(os.WriteFile(path+".new", nil, 0o644), os.Rename(path+".new", path))
		},
		"after others": func(path string) error { return errors.Join(os.WriteFile(path+"x", nil, 0o644), os.Mkdir(path, 0o755)) },
	}
	for name, make := range tests {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "worker", "reboot")
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			done := waitFor(ctx, path)
			if err := make(path); err != nil {
				t.Fatal(err)
			}
			if err := <-done; err != nil {
				t.Error(err)
			}
			if err := Appear(ctx, path); err != nil {
				t.Errorf("a file that is there already: %v", err)
			}
		})
	}
}

func TestAppearEnds(t *testing.T) {
	path := filepath.Join(t.TempDir(), "worker", "reboot")
	ctx, cancel := context.WithCancel(t.Context())
	done := waitFor(ctx, path)
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	path = filepath.Join(t.TempDir(), "other", "reboot")
	done = waitFor(t.Context(), path)
	if err := os.RemoveAll(filepath.Dir(path)); err != nil {
		t.Fatal(err)
	}
	if err := <-done; !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error %v", err)
	}
}

// waitFor runs Appear and returns when the folder is there.
func waitFor(ctx context.Context, path string) <-chan error {
	done := make(chan error, 1)
	go func() { done <- Appear(ctx, path) }()
	for {
		if _, err := os.Stat(filepath.Dir(path)); err == nil {
			return done
		}
		time.Sleep(time.Millisecond)
	}
}
