package console

import (
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// queued is how many lines wait for a console that is slow or stopped by Ctrl-S; more are dropped for it.
	queued = 256
	// patience is how long a console may take for a line.
	patience = 2 * time.Second
	// reopen is how long a console that failed is left alone. It may be missing only until its driver is loaded.
	reopen = time.Second
)

// Writer prints on several consoles. Write never waits: a serial line that is stopped must not stop the machine.
type Writer struct {
	ports []*port
	wg    sync.WaitGroup
}

type port struct {
	path   string
	lines  chan []byte
	flush  chan chan struct{}
	file   *os.File
	failed time.Time
}

// NewWriter prints on the consoles of these names in dev ("/dev"). Close ends it.
func NewWriter(dev string, names []string) *Writer {
	w := &Writer{}
	for _, name := range names {
		p := &port{path: filepath.Join(dev, name), lines: make(chan []byte, queued), flush: make(chan chan struct{})}
		w.ports = append(w.ports, p)
		w.wg.Go(p.run)
	}
	return w
}

// Write queues p for every console.
func (w *Writer) Write(p []byte) (int, error) {
	line := append([]byte(nil), p...)
	for _, port := range w.ports {
		select {
		case port.lines <- line:
		default:
		}
	}
	return len(p), nil
}

// Flush waits until what was written has left for the wire, but not longer than the timeout.
func (w *Writer) Flush(timeout time.Duration) {
	expired := time.After(timeout)
	for _, port := range w.ports {
		done := make(chan struct{})
		select {
		case port.flush <- done:
		case <-expired:
			return
		}
		select {
		case <-done:
		case <-expired:
			return
		}
	}
}

// Close prints what is queued and ends. The Writer must not be used any more.
func (w *Writer) Close() {
	for _, port := range w.ports {
		close(port.lines)
	}
	w.wg.Wait()
}

func (p *port) run() {
	for {
		select {
		case line, ok := <-p.lines:
			if !ok {
				p.close()
				return
			}
			p.print(line)
		case done := <-p.flush:
			for len(p.lines) > 0 {
				p.print(<-p.lines)
			}
			if p.file != nil {
				drain(p.file)
			}
			close(done)
		}
	}
}

// print writes a line. A terminal hangs up on everybody when the session on it ends, so the first line after that takes
// a second try with the terminal opened anew.
func (p *port) print(line []byte) {
	for range 2 {
		if p.file == nil && !p.open() {
			return
		}
		// A file that has no deadline is no terminal, and does not block.
		_ = p.file.SetWriteDeadline(time.Now().Add(patience))
		if _, err := p.file.Write(line); err == nil || os.IsTimeout(err) {
			return
		}
		p.close()
	}
	p.failed = time.Now()
}

func (p *port) open() bool {
	if time.Since(p.failed) < reopen {
		return false
	}
	// O_NONBLOCK: opening a serial line waits for carrier otherwise, and writing must have a deadline.
	file, err := os.OpenFile(p.path, os.O_WRONLY|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	if err != nil {
		p.failed = time.Now()
		return false
	}
	p.file = file
	return true
}

func (p *port) close() {
	if p.file != nil {
		p.file.Close()
		p.file = nil
	}
}

// drain is tcdrain(3). A line without a reader makes it wait; Flush does not.
func drain(file *os.File) {
	raw, err := file.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) { _ = unix.IoctlSetInt(int(fd), unix.TCSBRK, 1) })
}
