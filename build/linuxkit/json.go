package linuxkit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// parseJSON reads one JSON document. Labels are JSON almost always, and JSON
// allows what a YAML parser does not (tabs, \/).
func parseJSON(file string, data []byte) (*node, error) {
	p := jsonParser{file: file, data: data, dec: json.NewDecoder(bytes.NewReader(data))}
	p.dec.UseNumber()
	n, err := p.value(0)
	if err != nil {
		return nil, err
	}
	if _, err := p.dec.Token(); !errors.Is(err, io.EOF) {
		return nil, &Error{Pos: p.pos(), Message: "text after the JSON document"}
	}
	return n, nil
}

type jsonParser struct {
	file string
	data []byte
	dec  *json.Decoder
	line int // of the offset below, counted so far
	last int
	bol  int // offset of the beginning of the line
}

// pos returns the place of the next token.
func (p *jsonParser) pos() Pos {
	at := int(p.dec.InputOffset())
	for at < len(p.data) && strings.IndexByte(" \t\r\n,:", p.data[at]) >= 0 {
		at++
	}
	for ; p.last < at; p.last++ {
		if p.data[p.last] == '\n' {
			p.line, p.bol = p.line+1, p.last+1
		}
	}
	return Pos{p.file, p.line + 1, at - p.bol + 1}
}

func (p *jsonParser) value(depth int) (*node, error) {
	pos := p.pos()
	t, err := p.dec.Token()
	if err != nil {
		err = noEOF(err)
		return nil, &Error{Pos: pos, Message: fmt.Sprintf("JSON: %v", err), Err: err}
	}
	if depth > maxDepth {
		return nil, &Error{Pos: pos, Message: "JSON nested too deeply"}
	}
	switch t := t.(type) {
	case nil:
		return &node{kind: null, pos: pos}, nil
	case bool:
		return &node{kind: boolean, pos: pos, text: fmt.Sprint(t)}, nil
	case string:
		return &node{kind: text, pos: pos, text: t}, nil
	case json.Number:
		if n, ok := parseNumber(t.String()); ok {
			return &node{kind: integer, pos: pos, text: t.String(), number: n}, nil
		}
		return &node{kind: float, pos: pos, text: t.String()}, nil
	}
	if t == json.Delim('[') {
		return p.list(pos, depth)
	}
	return p.object(pos, depth)
}

func (p *jsonParser) list(pos Pos, depth int) (*node, error) {
	n := &node{kind: list, pos: pos}
	for p.dec.More() {
		item, err := p.value(depth + 1)
		if err != nil {
			return nil, err
		}
		n.items = append(n.items, item)
	}
	return n, p.end()
}

func (p *jsonParser) object(pos Pos, depth int) (*node, error) {
	n := &node{kind: object, pos: pos}
	for p.dec.More() {
		key, err := p.value(depth + 1)
		if err != nil {
			return nil, err
		}
		value, err := p.value(depth + 1)
		if err != nil {
			return nil, err
		}
		n.entries = append(n.entries, entry{key.text, key.pos, value})
	}
	return n, p.end()
}

// end reads the closing bracket.
func (p *jsonParser) end() error {
	pos := p.pos()
	if _, err := p.dec.Token(); err != nil {
		err = noEOF(err)
		return &Error{Pos: pos, Message: fmt.Sprintf("JSON: %v", err), Err: err}
	}
	return nil
}
