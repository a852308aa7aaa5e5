package tftp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Operation codes (RFC 1350 section 5, RFC 2347).
const (
	opRead  = 1
	opWrite = 2
	opData  = 3
	opAck   = 4
	opError = 5
	opOACK  = 6
)

// ErrorCode is the number in an ERROR packet (RFC 1350 appendix, RFC 2347).
type ErrorCode uint16

// The error codes a server sends or a client may abort with.
const (
	CodeUndefined  ErrorCode = 0
	CodeNotFound   ErrorCode = 1
	CodeAccess     ErrorCode = 2
	CodeDiskFull   ErrorCode = 3
	CodeIllegal    ErrorCode = 4
	CodeUnknownTID ErrorCode = 5
	CodeExists     ErrorCode = 6
	CodeNoUser     ErrorCode = 7
	CodeOption     ErrorCode = 8
)

// Error is an answer for the client: a FileSystem returns one to choose the code and text of the refusal.
type Error struct {
	Code    ErrorCode
	Message string // shown on the machine's screen by most firmware: short, ASCII
}

func (e *Error) Error() string { return fmt.Sprintf("tftp error %d: %s", e.Code, e.Message) }

// Limits of a request. RFC 2347 holds a request to 512 octets; firmware that passes long URLs exceeds that.
const (
	maxRequest = 1024
	maxName    = 512
	maxOptions = 16
	maxMessage = 128 // of an ERROR, in both directions
)

// request is a parsed RRQ or WRQ: strings are what the client sent, in its order and case, options lower-cased.
type request struct {
	op      uint16
	name    string
	mode    string // lower case
	options []option
}

type option struct{ name, value string }

// asks reports whether the client named the option.
func (r request) asks(name string) bool {
	for _, o := range r.options {
		if o.name == name {
			return true
		}
	}
	return false
}

func malformed(code ErrorCode, format string, args ...any) error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// parseRequest reads an RRQ or WRQ. Every error is an *Error to be sent to the client.
func parseRequest(p []byte) (request, error) {
	if len(p) < 4 || len(p) > maxRequest {
		return request{}, malformed(CodeIllegal, "request of %d bytes", len(p))
	}
	r := request{op: binary.BigEndian.Uint16(p)}
	if r.op != opRead && r.op != opWrite {
		return request{}, malformed(CodeIllegal, "operation %d is not a request", r.op)
	}
	var ok bool
	rest := p[2:]
	if r.name, rest, ok = field(rest); !ok || r.name == "" || len(r.name) > maxName {
		return request{}, malformed(CodeIllegal, "no usable file name")
	}
	if !printable(r.name) {
		return request{}, malformed(CodeAccess, "file name has control characters")
	}
	if r.mode, rest, ok = field(rest); !ok || r.mode == "" || len(r.mode) > 16 {
		return request{}, malformed(CodeIllegal, "no transfer mode")
	}
	r.mode = strings.ToLower(r.mode)
	var err error
	r.options, err = parseOptions(rest)
	return r, err
}

// parseOptions reads name and value pairs. An option given twice is an error (RFC 2347: only once); padding with
// zero bytes, which some ROMs add, is not.
func parseOptions(rest []byte) ([]option, error) {
	var options []option
	for len(rest) > 0 && rest[0] != 0 {
		name, after, ok := field(rest)
		if !ok {
			return nil, malformed(CodeOption, "option without end")
		}
		value, after, ok := field(after)
		if !ok {
			return nil, malformed(CodeOption, "option without value")
		}
		if len(options) == maxOptions {
			return nil, malformed(CodeOption, "more than %d options", maxOptions)
		}
		name = strings.ToLower(name)
		for _, o := range options {
			if o.name == name {
				return nil, malformed(CodeOption, "option given twice")
			}
		}
		options = append(options, option{name, value})
		rest = after
	}
	for _, b := range rest {
		if b != 0 {
			return nil, malformed(CodeOption, "option without name")
		}
	}
	return options, nil
}

// field cuts one NUL-terminated string; ok is false when the terminator is missing.
func field(p []byte) (s string, rest []byte, ok bool) {
	for i, b := range p {
		if b == 0 {
			return string(p[:i]), p[i+1:], true
		}
	}
	return "", nil, false
}

func printable(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < 0x20 || s[i] == 0x7f {
			return false
		}
	}
	return true
}

// number reads a decimal option value without sign, blanks or leading plus; ok is false for anything else.
func number(s string) (uint64, bool) {
	if s == "" || s[0] < '0' || s[0] > '9' {
		return 0, false
	}
	n, err := strconv.ParseUint(s, 10, 63)
	return n, err == nil
}

// opcode of a datagram, 0 if it is too short to have one.
func opcode(p []byte) uint16 {
	if len(p) < 2 {
		return 0
	}
	return binary.BigEndian.Uint16(p)
}

// parseAck reads the block number of an ACK. Bytes after the fourth are ignored, as clients pad.
func parseAck(p []byte) (block uint16, ok bool) {
	if len(p) < 4 || opcode(p) != opAck {
		return 0, false
	}
	return binary.BigEndian.Uint16(p[2:]), true
}

// parseError reads an ERROR from a client; the message is bounded and made printable.
func parseError(p []byte) (*Error, bool) {
	if len(p) < 4 || opcode(p) != opError {
		return nil, false
	}
	text := p[4:]
	for i, b := range text {
		if b == 0 || i == maxMessage {
			text = text[:i]
			break
		}
	}
	clean := strings.Map(func(r rune) rune {
		if r < 0x20 || r == 0x7f || r == '\uFFFD' {
			return '?'
		}
		return r
	}, string(text))
	return &Error{Code: ErrorCode(binary.BigEndian.Uint16(p[2:])), Message: clean}, true
}

// errorPacket renders an ERROR.
func errorPacket(e *Error) []byte {
	message := e.Message
	if len(message) > maxMessage {
		message = message[:maxMessage]
	}
	p := binary.BigEndian.AppendUint16(nil, opError)
	p = binary.BigEndian.AppendUint16(p, uint16(e.Code))
	return append(append(p, message...), 0)
}

// oackPacket renders an OACK of the granted options, in the client's order.
func oackPacket(granted []option) []byte {
	p := binary.BigEndian.AppendUint16(nil, opOACK)
	for _, o := range granted {
		p = append(append(p, o.name...), 0)
		p = append(append(p, o.value...), 0)
	}
	return p
}

// asError turns any error of a FileSystem into the answer for the client, without telling paths of the server.
func asError(err error) *Error {
	var e *Error
	switch {
	case errors.As(err, &e):
		return e
	case isNotFound(err):
		return &Error{CodeNotFound, "file not found"}
	case isForbidden(err):
		return &Error{CodeAccess, "access denied"}
	}
	return &Error{CodeUndefined, "the server cannot read the file"}
}
