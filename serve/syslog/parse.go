package syslog

import (
	"strings"
	"time"
)

const bom = "\uFEFF"

// Parse reads one message, without its framing. It takes everything: what does
// not look like a header is text. From is left to the caller.
func Parse(message []byte, received time.Time) Record {
	r := Record{Time: received, Facility: defaultFacility, Severity: defaultSeverity}
	// 1. Some senders end with NUL, some with line breaks.
	text := strings.Trim(string(message), "\x00\r\n\t ")
	text = strings.TrimPrefix(text, bom)
	// 2. The header, of whichever kind it is.
	text, said := r.priority(text)
	if rest, ok := r.header5424(text); ok {
		text = rest
	} else {
		text = r.header3164(text, said)
	}
	// 3. The text, which may be a JSON object.
	text = strings.TrimPrefix(text, bom)
	if !r.unwrap(text) {
		r.Message = cleanText(text)
	}
	r.clean()
	return r
}

// clean makes the fields safe to print.
func (r *Record) clean() {
	for _, s := range []*string{&r.Hostname, &r.App, &r.ProcID, &r.MsgID} {
		*s = cleanWord(*s)
	}
	for i, e := range r.Data {
		r.Data[i].ID = cleanWord(e.ID)
		for j, p := range e.Params {
			e.Params[j] = Param{cleanWord(p.Name), cleanText(p.Value)}
		}
	}
}

// priority takes <0> to <191> off.
func (r *Record) priority(s string) (rest string, found bool) {
	end := strings.IndexByte(s[:min(len(s), 5)], '>')
	if end < 0 || s[0] != '<' {
		return s, false
	}
	n, ok := decimal(s[1:end])
	if !ok || n > 191 {
		return s, false
	}
	r.Facility, r.Severity = Facility(n/8), Severity(n%8)
	return strings.TrimLeft(s[end+1:], " "), true
}

// decimal reads one to nine digits.
func decimal(s string) (n int, ok bool) {
	if len(s) == 0 || len(s) > 9 {
		return 0, false
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		n = n*10 + int(s[i]-'0')
	}
	return n, true
}

// word cuts the first word off; more spaces than one count as one.
func word(s string) (first, rest string) {
	first, rest, _ = strings.Cut(s, " ")
	return first, strings.TrimLeft(rest, " ")
}

// header5424 takes an RFC 5424 header off: VERSION TIMESTAMP HOSTNAME APP-NAME
// PROCID MSGID STRUCTURED-DATA. It must be whole, or it is none.
func (r *Record) header5424(s string) (rest string, ok bool) {
	version, rest := word(s)
	if n, ok := decimal(version); !ok || n == 0 || n > 99 {
		return s, false
	}
	var field [5]string
	for i := range field {
		if field[i], rest = word(rest); field[i] == "" {
			return s, false
		}
	}
	var said time.Time
	if field[0] != "-" {
		var err error
		if said, err = time.Parse(time.RFC3339Nano, field[0]); err != nil {
			return s, false
		}
	}
	data, rest := structured(rest)
	r.Said, r.Data = said, data
	for i, s := range []*string{&r.Hostname, &r.App, &r.ProcID, &r.MsgID} {
		if field[i+1] != "-" {
			*s = field[i+1]
		}
	}
	return rest, true
}

// maxParams bounds what is made of one message's structured data.
const maxParams = 256

// structured takes structured data off. What is malformed stays text.
func structured(s string) (data []Element, rest string) {
	if s == "-" || strings.HasPrefix(s, "- ") {
		return nil, strings.TrimPrefix(s[1:], " ")
	}
	rest = s
	for params := 0; strings.HasPrefix(rest, "["); {
		e, after, ok := element(rest[1:])
		if params += 1 + len(e.Params); !ok || params > maxParams {
			return nil, s
		}
		data, rest = append(data, e), after
	}
	return data, strings.TrimPrefix(rest, " ")
}

// element reads ID *(SP NAME="VALUE") and the bracket that ends it.
func element(s string) (e Element, rest string, ok bool) {
	end := strings.IndexAny(s, " ]")
	if end <= 0 {
		return e, s, false
	}
	e.ID, rest = s[:end], s[end:]
	for {
		rest = strings.TrimLeft(rest, " ")
		if after, done := strings.CutPrefix(rest, "]"); done {
			return e, after, true
		}
		name, after, found := strings.Cut(rest, `="`)
		if !found || name == "" || len(e.Params) == maxParams || strings.ContainsAny(name, ` ]"`) {
			return e, s, false
		}
		value, after, found := quoted(after)
		if !found {
			return e, s, false
		}
		e.Params, rest = append(e.Params, Param{name, value}), after
	}
}

// quoted reads up to the closing quote; \" \\ and \] are escapes, any other
// backslash is itself (RFC 5424, 6.3.3).
func quoted(s string) (value, rest string, ok bool) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '"':
			return b.String(), s[i+1:], true
		case s[i] == '\\' && i+1 < len(s) && strings.IndexByte(`"\]`, s[i+1]) >= 0:
			i++
		}
		b.WriteByte(s[i])
	}
	return "", s, false
}

// header3164 takes off what there is of TIMESTAMP HOSTNAME TAG[PID]:. Docker
// leaves the host name out, iPXE the time, Cisco puts a sequence number first. A
// line with neither priority (prioritized) nor time is text from its first byte.
func (r *Record) header3164(s string, prioritized bool) (text string) {
	said, rest, timed := stamp(s, r.Time)
	if timed {
		r.Said, s = said, rest
	}
	if !timed && !prioritized {
		return s
	}
	first, after := word(s)
	if r.tag(first) {
		return after
	}
	if !hostname(first) {
		return s
	}
	second, text := word(after)
	switch {
	case r.tag(second):
		r.Hostname = first
		return text
	case timed && after != "":
		r.Hostname = first
		return after
	}
	return s
}

// tag reads name: and name[pid]: and name[pid].
func (r *Record) tag(s string) bool {
	name, colon := strings.CutSuffix(s, ":")
	name, pid, bracket := strings.Cut(name, "[")
	pid, closed := strings.CutSuffix(pid, "]")
	if name == "" || len(name) > 128 || !colon && !bracket || bracket && (!closed || pid == "") {
		return false
	}
	if strings.ContainsAny(name, "<>{}\"'(),=") {
		return false
	}
	r.App, r.ProcID = name, pid
	return true
}

// hostname: a name or an address of either family.
func hostname(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'z') && strings.IndexByte(".-_:%", c) < 0 {
			return false
		}
	}
	return s != "" && len(s) <= 255 && !strings.HasSuffix(s, ":")
}
