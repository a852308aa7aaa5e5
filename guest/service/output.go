package service

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"strings"
	"sync"

	"hooksmith/guest/bootlog"
)

// lineBuffer is how much of a line is looked at; longer ones are logged in pieces.
const lineBuffer = 16 << 10

// output copies what a container prints into its log.
type output struct {
	name   string
	log    io.Writer
	mirror func(line string) // gets the lines for the consoles
	all    mirroring

	mu   sync.Mutex
	last string
	done chan struct{}
}

// mirroring says which lines go to the consoles.
type mirroring int

const (
	mirrorMarked mirroring = iota // those that begin with bootlog.Prefix
	mirrorAll                     // linuxkit.runc_console=1
)

// open returns the end of a pipe for the container to write to. What comes out is copied until nobody holds that end.
func (o *output) open() (*os.File, error) {
	reader, writer, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	done := make(chan struct{})
	o.done = done
	go func() {
		defer close(done)
		defer reader.Close()
		o.copy(reader)
	}()
	return writer, nil
}

// copy reads until the end. A log that cannot be written must not block the service, so errors are passed over.
func (o *output) copy(r io.Reader) {
	lines := bufio.NewReaderSize(r, lineBuffer)
	begins := true
	for {
		piece, err := lines.ReadSlice('\n')
		if len(piece) > 0 {
			_, _ = o.log.Write(piece)
			if begins {
				o.line(string(bytes.TrimRight(piece, "\r\n")))
			}
			begins = piece[len(piece)-1] == '\n'
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return
		}
	}
}

func (o *output) line(line string) {
	text, marked := strings.CutPrefix(line, bootlog.Prefix)
	switch {
	case o.mirror == nil:
	case marked:
		o.mirror(text)
	case o.all == mirrorAll:
		o.mirror(o.name + ": " + line)
	}
	if strings.TrimSpace(line) == "" {
		return
	}
	o.mu.Lock()
	o.last = line
	o.mu.Unlock()
}

// lastLine is the last line that was not empty.
func (o *output) lastLine() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.last
}
