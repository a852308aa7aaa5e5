// Package bootlog is the voice of HookOS while it boots: short lines for people, which are also the stable markers that
// boot tests wait for.
//
// In go messages, out come lines such as
//
//	[  3.214] hooksmith: service network started (pid 123)
//
// on the consoles, in /var/log/init.log, in the kernel's log, and without the time at a syslog server. The time is that
// of the kernel's own log lines.
package bootlog

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Prefix stands before every message. A service whose output has a line that begins with it gets that line onto the
// consoles too (see package service).
const Prefix = "hooksmith: "

// maxLine bounds a message. The kernel's log cuts records at about 1000 bytes.
const maxLine = 900

// Log writes boot messages. The zero value discards them. It is safe for concurrent use.
type Log struct {
	// Console, File and Kmsg each get a line per message when set. Console must not block for long.
	Console, File, Kmsg io.Writer
	// Remote gets every message of Printf when set. It must not block.
	Remote func(message string)
	// Now is the time since boot; nil means Uptime.
	Now func() time.Duration

	mu sync.Mutex
}

// Printf writes a message everywhere.
func (l *Log) Printf(format string, args ...any) {
	message := Clean(fmt.Sprintf(format, args...))
	l.write(l.Console, message)
	if l.Remote != nil {
		l.Remote(message)
	}
}

// Debugf writes a message to the file and to the kernel's log only.
func (l *Log) Debugf(format string, args ...any) {
	l.write(nil, Clean(fmt.Sprintf(format, args...)))
}

func (l *Log) write(console io.Writer, message string) {
	now := l.Now
	if now == nil {
		now = Uptime
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	line := []byte(fmt.Sprintf("[%7.3f] %s%s\n", now().Seconds(), Prefix, message))
	for _, w := range []io.Writer{console, l.File} {
		if w != nil {
			// A log that cannot be written has nobody to tell.
			_, _ = w.Write(line)
		}
	}
	if l.Kmsg != nil {
		// Level 7, debug: it stays off the consoles, which have the line already.
		_, _ = fmt.Fprintf(l.Kmsg, "<7>%s%s\n", Prefix, message)
	}
}

// Clean makes a message safe for a terminal: one line, no control characters, bounded. Container output is passed on.
func Clean(message string) string {
	message = strings.Map(func(r rune) rune {
		switch {
		case r == '\t':
			return ' '
		case r == '\n':
			return '|'
		case r < ' ' || r >= 0x7f && r < 0xa0:
			return -1
		}
		return r
	}, strings.TrimSpace(message))
	if len(message) > maxLine {
		message = strings.ToValidUTF8(message[:maxLine], "") + "..."
	}
	return message
}

// Uptime is the time since boot.
func Uptime() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return 0
	}
	return time.Duration(ts.Nano())
}
