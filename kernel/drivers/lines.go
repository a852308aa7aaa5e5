package drivers

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
)

// Bounds of a listing. The largest servers have two thousand PCI devices.
const (
	maxListing = 16 << 20
	maxDevices = 20_000
)

// lines calls fn for every line of a listing, without its end. Errors name the
// file; those of fn have the line before them.
func lines(file string, r io.Reader, fn func(where, line string) error) error {
	limited := &io.LimitedReader{R: r, N: maxListing + 1}
	scan := bufio.NewScanner(limited)
	scan.Buffer(nil, 1<<20)
	for n := 1; scan.Scan(); n++ {
		line := strings.TrimSuffix(scan.Text(), "\r")
		if n == 1 {
			line = strings.TrimPrefix(line, "\ufeff") // a listing that came through Windows
		}
		if err := fn(fmt.Sprintf("%s:%d", file, n), line); err != nil {
			return err
		}
	}
	if limited.N == 0 {
		return fmt.Errorf("%s: more than %d bytes; no listing of devices is as long", file, maxListing)
	}
	if err := scan.Err(); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return nil
}

// Listing is what a file lists.
type Listing struct {
	Devices  []Device
	Warnings []string // about the file: lines that were passed over
}

// message is a line that a program has written to its standard error where a
// listing was made with 2>&1, or its terminal copied: "grep: /sys/x:
// Permission denied". No line of a listing begins so: a modalias has no blank
// behind its bus, and lspci has a tab behind its keys.
var message = regexp.MustCompile(`^-?(?:/[^ :]*/)?(?:(?i:warning)|lspci|pcilib|find|[ef]?grep|cat|xargs|head|tail|awk|sed|ls|busybox|sudo|doas|ssh|env|timeout|(?:ba|da|a|z|k)?sh): `)

// listing collects devices.
type listing struct {
	file     string
	devices  []Device
	messages int    // of programs
	first    string // of them, with its line
}

// isMessage reports whether a line is the message of a program, and counts it.
func (l *listing) isMessage(where, line string) bool {
	if !message.MatchString(line) {
		return false
	}
	if l.messages++; l.messages == 1 {
		l.first = fmt.Sprintf("%s: %.80q", where, line)
	}
	return true
}

// end is the result: an error that ends with hint if there is no device.
func (l *listing) end(hint string) (*Listing, error) {
	switch {
	case len(l.devices) > 0 && l.messages > 0:
		return &Listing{l.devices, []string{fmt.Sprintf("%s: passed over messages of programs (%d), devices may be missing; the first is %s", l.file, l.messages, l.first)}}, nil
	case len(l.devices) > 0:
		return &Listing{Devices: l.devices}, nil
	case l.messages > 0:
		return nil, fmt.Errorf("%s, only messages of programs (%d); the first is %s", hint, l.messages, l.first)
	}
	return nil, errors.New(hint)
}

func (l *listing) add(d Device) error {
	if l.devices = append(l.devices, d); len(l.devices) > maxDevices {
		return fmt.Errorf("%s: more than %d devices", l.file, maxDevices)
	}
	return nil
}
