package main

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/creack/pty"
)

// buffer is a bytes.Buffer for several writers.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func TestProgressPlain(t *testing.T) {
	clock := time.Unix(0, 0)
	var out buffer
	p := newProgress(&out, false, func() time.Time { return clock })

	a := p.Begin("docker.io.deb", 28_000_000)
	b := p.Begin("index", 0)
	for range 12 { // 12 s: one line after 5 s, one after 10 s
		clock = clock.Add(time.Second)
		a.Add(100_000)
	}
	b.Add(12)
	b.Done(nil)
	a.Done(errors.New("connection reset"))
	a.Done(nil) // ignored
	p.Begin("cpio", 0).Done(nil)
	p.Begin("small.deb", 1000).Done(nil)
	p.Close()

	want := `docker.io.deb: started (28.0 MB)
index: started
docker.io.deb: 500.0 kB of 28.0 MB
docker.io.deb: 1.0 MB of 28.0 MB
index: 12 B
index: done, 12 B in 12s
docker.io.deb: stopped after 12s
cpio: started
cpio: done in 0s
`
	if got := out.String(); got != want {
		t.Errorf("got:\n%swant:\n%s", got, want)
	}
}

// Bars of many concurrent tasks leave one line each, and log lines survive.
func TestProgressBars(t *testing.T) {
	var out buffer
	p := newProgress(&out, true, time.Now)
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			task := p.Begin(fmt.Sprintf("package-%02d.deb", i), int64(i%2)*1000)
			task.Add(400)
			fmt.Fprintf(p, "log line %02d\n", i)
			task.Add(600)
			task.Done(nil)
		})
	}
	wg.Wait()
	p.Begin("left alone", 100).Add(5) // Ctrl-C: nobody calls Done
	p.Close()
	late := p.Begin("late", 0)
	late.Done(nil)

	got := out.String()
	for i := range 20 {
		for _, want := range []string{fmt.Sprintf("package-%02d.deb: done, 1.0 kB in 0s\n", i), fmt.Sprintf("log line %02d\n", i)} {
			if strings.Count(got, want) != 1 {
				t.Errorf("%q is there %d times, want once", want, strings.Count(got, want))
			}
		}
	}
	if !strings.HasSuffix(got, "late: started\nlate: done in 0s\n") {
		t.Errorf("after Close: %q", got[max(0, len(got)-100):])
	}
}

// A terminal without a size has no bars, and is told in lines.
func TestProgressNoRoom(t *testing.T) {
	user, tty, err := pty.Open()
	if err != nil {
		t.Skip(err)
	}
	defer user.Close()
	defer tty.Close()
	for _, tt := range []struct {
		size pty.Winsize
		bars bool
	}{{pty.Winsize{Cols: 0, Rows: 0}, false}, {pty.Winsize{Cols: 80, Rows: 0}, false}, {pty.Winsize{Cols: 80, Rows: 24}, true}} {
		if err := pty.Setsize(tty, &tt.size); err != nil {
			t.Fatal(err)
		}
		a := newApp(tty, tty, tty, func(string) (string, bool) { return "", false })
		if a.progress.tty != tt.bars {
			t.Errorf("%dx%d: bars %t, want %t", tt.size.Cols, tt.size.Rows, a.progress.tty, tt.bars)
		}
	}
	if hasRoom(&buffer{}) {
		t.Error("bars in what is no terminal")
	}
}

func TestByteCount(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 999: "999 B", 1000: "1.0 kB", 23_037_844: "23.0 MB", 1_500_000_000: "1.50 GB"} {
		if got := byteCount(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
}

func TestShorten(t *testing.T) {
	if got := shorten("linux-image-6.12.117+deb13-amd64_6.12.117-1_amd64.deb", 20); got != "linux-ima…_amd64.deb" {
		t.Error(got)
	}
	if got := shorten("short", 20); got != "short" {
		t.Error(got)
	}
}
