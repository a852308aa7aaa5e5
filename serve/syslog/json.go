package syslog

import (
	"bytes"
	"cmp"
	"encoding/json"
	"math"
	"slices"
	"strings"
	"time"
)

// maxFields is how many members an object may have to be taken apart.
const maxFields = 64

// What loggers call the three things that every line has: zap, zerolog, slog,
// logrus, docker's json-file.
var (
	textKeys  = []string{"msg", "message", "log"}
	levelKeys = []string{"level", "severity", "lvl"}
	timeKeys  = []string{"time", "ts", "timestamp", "@timestamp"}
)

// unwrap takes a message apart that is a JSON object with a text in it. Level
// and time of the object count: those of the header are the forwarder's.
func (r *Record) unwrap(text string) bool {
	if !strings.HasPrefix(text, "{") {
		return false
	}
	var object map[string]json.RawMessage
	if err := json.Unmarshal([]byte(text), &object); err != nil || len(object) > maxFields {
		return false
	}
	key, message, found := member(object, textKeys)
	if !found {
		return false
	}
	r.Message = cleanText(strings.TrimRight(message, "\r\n"))
	delete(object, key)
	if key, level, ok := member(object, levelKeys); ok {
		if severity, known := severityOf(level); known {
			r.Severity = severity
			delete(object, key)
		}
	}
	if key, said, ok := jsonTime(object); ok {
		r.Said = said
		delete(object, key)
	}
	for name, value := range object {
		r.Fields = append(r.Fields, Param{cleanWord(name), cleanText(plain(value))})
	}
	slices.SortFunc(r.Fields, func(a, b Param) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.Value, b.Value))
	})
	return true
}

// member finds the first of the keys that holds a string.
func member(object map[string]json.RawMessage, keys []string) (key, value string, ok bool) {
	for _, key := range keys {
		var s *string
		if err := json.Unmarshal(object[key], &s); err == nil && s != nil {
			return key, *s, true
		}
	}
	return "", "", false
}

// plain is a value as people read it: a string without its quotes.
func plain(value json.RawMessage) string {
	var s string
	if json.Unmarshal(value, &s) == nil && value[0] == '"' {
		return s
	}
	var b bytes.Buffer
	if json.Compact(&b, value) != nil {
		return string(value)
	}
	return b.String()
}

// jsonTime reads RFC 3339, and zap's seconds since 1970 with a fraction.
func jsonTime(object map[string]json.RawMessage) (key string, said time.Time, ok bool) {
	for _, key := range timeKeys {
		raw, found := object[key]
		if !found {
			continue
		}
		if json.Unmarshal(raw, &said) == nil && !said.IsZero() {
			return key, said, true
		}
		var seconds float64
		if json.Unmarshal(raw, &seconds) == nil && seconds > 1e8 && seconds < 1e11 {
			whole, part := math.Modf(seconds)
			return key, time.Unix(int64(whole), int64(part*1e9)).UTC(), true
		}
	}
	return "", time.Time{}, false
}

var levels = map[string]Severity{
	"trace": Debug, "debug": Debug, "info": Info, "information": Info, "informational": Info, "notice": Notice,
	"warn": Warning, "warning": Warning, "err": Error, "error": Error, "crit": Critical, "critical": Critical,
	"fatal": Critical, "dpanic": Critical, "panic": Critical, "alert": Alert, "emerg": Emergency, "emergency": Emergency,
}

// severityOf reads a level's name; slog writes those in between as INFO+2.
func severityOf(level string) (Severity, bool) {
	if i := strings.IndexAny(level, "+-"); i > 0 {
		level = level[:i]
	}
	s, ok := levels[strings.ToLower(level)]
	return s, ok
}
