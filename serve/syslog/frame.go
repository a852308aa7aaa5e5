package syslog

import (
	"bufio"
	"io"
)

// frames cuts a stream into messages, by either way of RFC 6587: a count and a
// space before each, or a line break after each. The first message decides for
// the connection, as nobody mixes them.
type frames struct {
	r       *bufio.Reader
	max     int // bytes of a message that are kept
	decided bool
	counted bool
}

func newFrames(r io.Reader, limit int) *frames {
	return &frames{r: bufio.NewReaderSize(r, 4096), max: limit}
}

// next returns a message, and whether it was cut to size. The slice is the
// caller's. At the end of the stream, what is there is a message.
func (f *frames) next() (message []byte, cut bool, err error) {
	if err := f.skipGaps(); err != nil {
		return nil, false, err
	}
	count, found, err := f.count()
	if err != nil {
		return nil, false, err
	}
	if !f.decided {
		f.decided, f.counted = true, found
	}
	if f.counted && !found {
		f.counted = false // it lost count: lines are what can be found again
	}
	if f.counted {
		return f.sized(count)
	}
	return f.line()
}

// skipGaps skips what some send between messages.
func (f *frames) skipGaps() error {
	for {
		c, err := f.r.ReadByte()
		if err != nil {
			return err
		}
		if c != '\n' && c != '\r' && c != 0 && c != ' ' {
			return f.r.UnreadByte()
		}
	}
}

// count takes MSG-LEN and its space off, if that is what comes. A line may begin
// with a number too, so the first count must have a priority behind it.
func (f *frames) count() (n int, ok bool, err error) {
	const digits = 7
	if f.decided && !f.counted {
		return 0, false, nil
	}
	for i := 0; i <= digits; i++ {
		ahead, err := f.r.Peek(i + 1)
		if err != nil {
			return 0, false, endless(err)
		}
		c := ahead[i]
		if c >= '0' && c <= '9' && (i > 0 || c != '0') {
			continue
		}
		if c != ' ' || i == 0 {
			return 0, false, nil
		}
		if !f.decided {
			if ahead, err = f.r.Peek(i + 2); err != nil {
				return 0, false, endless(err)
			}
			if ahead[i+1] != '<' {
				return 0, false, nil
			}
		}
		n, _ = decimal(string(ahead[:i]))
		_, err = f.r.Discard(i + 1)
		return n, true, err
	}
	return 0, false, nil
}

// endless: at its end a stream has no more counts, but perhaps a last line.
func endless(err error) error {
	if err == io.EOF {
		return nil
	}
	return err
}

func (f *frames) sized(count int) (message []byte, cut bool, err error) {
	// It grows with what comes, not with what is announced.
	message, err = io.ReadAll(io.LimitReader(f.r, int64(min(count, f.max))))
	if err != nil || len(message) < min(count, f.max) {
		return message, false, last(message, err)
	}
	if count > f.max {
		_, err = f.r.Discard(count - f.max)
	}
	return message, count > f.max, last(message, err)
}

func (f *frames) line() (message []byte, cut bool, err error) {
	for {
		part, err := f.r.ReadSlice('\n')
		room := f.max - len(message)
		keep := len(part)
		if err == nil {
			keep-- // the line break
		}
		message = append(message, part[:min(keep, room)]...)
		cut = cut || keep > room
		if err != bufio.ErrBufferFull {
			return message, cut, last(message, err)
		}
	}
}

// last: a stream that breaks off within a message has still said that much.
func last(message []byte, err error) error {
	if len(message) > 0 {
		return nil
	}
	if err == nil {
		return io.EOF
	}
	return err
}
