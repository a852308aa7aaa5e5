package drivers

import (
	"bufio"
	"fmt"
	"io"
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

// listing collects devices.
type listing struct {
	file    string
	devices []Device
}

func (l *listing) add(d Device) error {
	if l.devices = append(l.devices, d); len(l.devices) > maxDevices {
		return fmt.Errorf("%s: more than %d devices", l.file, maxDevices)
	}
	return nil
}
