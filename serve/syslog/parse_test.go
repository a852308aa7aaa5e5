package syslog

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"
)

var received = time.Date(2026, 11, 21, 17, 9, 0, 0, time.UTC)

func at(s string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		panic(err)
	}
	return t
}

func TestParse(t *testing.T) {
	for _, tt := range []struct {
		name, in string
		want     Record
	}{
		{"RFC 3164, example 1", "<34>Oct 11 22:14:15 mymachine su: 'su root' failed for lonvick on /dev/pts/8",
			Record{Facility: 4, Severity: Critical, Said: at("2026-10-11T22:14:15Z"), Hostname: "mymachine", App: "su", Message: "'su root' failed for lonvick on /dev/pts/8"}},
		{"RFC 3164, example 2", "Use the BFG!", Record{Facility: 1, Severity: Notice, Message: "Use the BFG!"}},
		{"RFC 3164, example 3", "<165>Aug 24 05:34:00 CST 1987 mymachine myproc[10]: %% It's time",
			Record{Facility: 20, Severity: Notice, Said: at("2026-08-24T05:34:00Z"), Hostname: "CST", Message: "1987 mymachine myproc[10]: %% It's time"}},
		{"one day", "<13>Dec  1 01:02:03 n1 kernel: hello", Record{Facility: 1, Severity: Notice, Said: at("2026-12-01T01:02:03Z"), Hostname: "n1", App: "kernel", Message: "hello"}},
		{"last year", "<13>Jan 2 01:02:03.250 n1 a[7]: hello", Record{Facility: 1, Severity: Notice, Said: at("2027-01-02T01:02:03.25Z"), Hostname: "n1", App: "a", ProcID: "7", Message: "hello"}},
		{"with a year", "<13>Jan 2 2025 01:02:03 n1 a: hello", Record{Facility: 1, Severity: Notice, Said: at("2025-01-02T01:02:03Z"), Hostname: "n1", App: "a", Message: "hello"}},
		{"RFC 3339 in RFC 3164", "<30>2026-11-21T17:08:59.5+01:00 n1 dockerd[12]: up", Record{Facility: 3, Severity: Info, Said: at("2026-11-21T17:08:59.5+01:00"), Hostname: "n1", App: "dockerd", ProcID: "12", Message: "up"}},
		{"Docker, no host", "<30>Nov 21 17:08:59 tink-worker[812]: started", Record{Facility: 3, Severity: Info, Said: at("2026-11-21T17:08:59Z"), App: "tink-worker", ProcID: "812", Message: "started"}},
		{"Docker's JSON of Tinkerbell's worker", `<30>Nov 21 17:08:59 0a1b[812]: {"level":"error","ts":1763744939.5,"caller":"worker/worker.go:1","msg":"no\u001b[31m workflow","worker_id":"02:00:00:00:00:01","n":{"a": [1, 2]}}`,
			Record{Facility: 3, Severity: Error, Said: at("2025-11-21T17:08:59.5Z"), App: "0a1b", ProcID: "812", Message: "no workflow",
				Fields: []Param{{"caller", "worker/worker.go:1"}, {"n", `{"a":[1,2]}`}, {"worker_id", "02:00:00:00:00:01"}}}},
		{"slog's JSON without a header", `{"time":"2026-11-21T17:08:59Z","level":"WARN+1","msg":"x"}`, Record{Facility: 1, Severity: Warning, Said: at("2026-11-21T17:08:59Z"), Message: "x"}},
		{"JSON without a text", `<30>a: {"level":"error"}`, Record{Facility: 3, Severity: Info, App: "a", Message: `{"level":"error"}`}},
		{"JSON with something behind", `<30>a: {"msg":"x"} y`, Record{Facility: 3, Severity: Info, App: "a", Message: `{"msg":"x"} y`}},
		{"JSON null and numbers", `<30>a: {"msg":null,"message":7,"log":"l\n","level":30,"time":"soon"}`,
			Record{Facility: 3, Severity: Info, App: "a", Message: "l", Fields: []Param{{"level", "30"}, {"message", "7"}, {"msg", "null"}, {"time", "soon"}}}},
		{"iPXE", "<13>ipxe: net0: 52:54:00:12:34:56 using virtio-net", Record{Facility: 1, Severity: Notice, App: "ipxe", Message: "net0: 52:54:00:12:34:56 using virtio-net"}},
		{"iPXE with a name", "<13>node-1 ipxe: Booting", Record{Facility: 1, Severity: Notice, Hostname: "node-1", App: "ipxe", Message: "Booting"}},
		{"priority and text", "<3>just some words", Record{Facility: 0, Severity: Error, Message: "just some words"}},
		{"text with a colon", "warning: no priority", Record{Facility: 1, Severity: Notice, Message: "warning: no priority"}},
		{"Cisco", "<189>45: *Mar  1 18:46:11.123 UTC: %SYS-5-CONFIG_I: Configured", Record{Facility: 23, Severity: Notice, Said: at("2027-03-01T18:46:11.123Z"), App: "%SYS-5-CONFIG_I", Message: "Configured"}},
		{"Juniper", "<13>Nov 21 17:08:59.001 2026 r1 mgd[4]: x", Record{Facility: 1, Severity: Notice, Said: at("2026-11-21T17:08:59.001Z"), Hostname: "r1", App: "mgd", ProcID: "4", Message: "x"}},
		{"an address as a host", "<13>Nov 21 17:08:59 fd00::1 a: x", Record{Facility: 1, Severity: Notice, Said: at("2026-11-21T17:08:59Z"), Hostname: "fd00::1", App: "a", Message: "x"}},
		{"no such priority", "<192>a: x", Record{Facility: 1, Severity: Notice, Message: "<192>a: x"}},
		{"open priority", "<13", Record{Facility: 1, Severity: Notice, Message: "<13"}},
		{"only a priority", "<13>", Record{Facility: 1, Severity: Notice}},
		{"nothing", "\x00\n", Record{Facility: 1, Severity: Notice}},
		{"RFC 5424, example 1", "<34>1 2003-10-11T22:14:15.003Z mymachine.example.com su - ID47 - " + bom + "'su root' failed",
			Record{Facility: 4, Severity: Critical, Said: at("2003-10-11T22:14:15.003Z"), Hostname: "mymachine.example.com", App: "su", MsgID: "ID47", Message: "'su root' failed"}},
		{"RFC 5424, example 3", `<165>1 2003-10-11T22:14:15.003Z host evntslog - ID47 [exampleSDID@32473 iut="3" eventSource="App\]\"\\\n"][x] An event`,
			Record{Facility: 20, Severity: Notice, Said: at("2003-10-11T22:14:15.003Z"), Hostname: "host", App: "evntslog", MsgID: "ID47", Message: "An event",
				Data: []Element{{"exampleSDID@32473", []Param{{"iut", "3"}, {"eventSource", `App]"\\n`}}}, {"x", nil}}}},
		{"RFC 5424, no message", "<165>1 - - - - - -", Record{Facility: 20, Severity: Notice}},
		{"RFC 5424, broken data", `<13>1 - h a 1 - [x y="z] text`, Record{Facility: 1, Severity: Notice, Hostname: "h", App: "a", ProcID: "1", Message: `[x y="z] text`}},
		{"RFC 5424 it is not", "<13>1 2 3 4 5 6 7 8", Record{Facility: 1, Severity: Notice, Message: "1 2 3 4 5 6 7 8"}},
		{"RFC 5424 with JSON", `<30>1 2026-11-21T17:08:59Z h worker 1 - - {"level":"debug","message":"m"}`,
			Record{Facility: 3, Severity: Debug, Said: at("2026-11-21T17:08:59Z"), Hostname: "h", App: "worker", ProcID: "1", Message: "m"}},
		{"controls", "<13>a: one\x1b[2J\x1b]0;title\x07\ttwo\r\nthree\x00\x7f\u202e\u0085\xff\x1b[", Record{Facility: 1, Severity: Notice, App: "a", Message: "one\ttwo\nthree\ufffd["}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.want.Time = received
			got := Parse([]byte(tt.in), received)
			if !got.Said.Equal(tt.want.Said) {
				t.Errorf("said %v, want %v", got.Said, tt.want.Said)
			}
			got.Said, tt.want.Said = time.Time{}, time.Time{}
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got  %+v\nwant %+v", got, tt.want)
			}
		})
	}
}

func TestNames(t *testing.T) {
	if got := fmt.Sprint(Facility(16), Facility(99), Error, Debug); got != "local0 unknown err debug" {
		t.Error(got)
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"<34>Oct 11 22:14:15 mymachine su[1]: failed", `<165>1 2003-10-11T22:14:15.003Z h a 1 ID47 [x y="z\]"] text`, `{"msg":"x","level":"info","ts":1.5e9}`,
		"<189>45: *Mar  1 2026 18:46:11.123 UTC: %SYS-5-CONFIG_I: Configured", "<13>a: \x1b]0;t\x07\x1b[2J", "<13>1 - - - - - " + strings.Repeat("[a]", 300),
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r := Parse(b, received)
		words := []string{r.Hostname, r.App, r.ProcID, r.MsgID}
		texts := []string{r.Message}
		for _, e := range r.Data {
			words = append(words, e.ID)
			for _, p := range e.Params {
				words, texts = append(words, p.Name), append(texts, p.Value)
			}
		}
		for _, p := range r.Fields {
			words, texts = append(words, p.Name), append(texts, p.Value)
		}
		for _, s := range words {
			checkSafe(t, s, "")
			if len(s) > maxWord {
				t.Errorf("%d bytes in %q", len(s), s)
			}
		}
		total := 0
		for _, s := range texts {
			checkSafe(t, s, "\n\t")
			total += len(s)
		}
		if total > 6*len(b)+16 { // a byte may become U+FFFD twice over: by JSON's reader, which takes six for \u0000
			t.Errorf("%d bytes became %d", len(b), total)
		}
		if r.Severity > Debug || r.Facility > 23 || len(r.Data) > maxParams || len(r.Fields) > maxFields {
			t.Errorf("%+v", r)
		}
	})
}

func checkSafe(t *testing.T, s, allowed string) {
	t.Helper()
	if !utf8.ValidString(s) {
		t.Errorf("not UTF-8: %q", s)
	}
	for _, c := range s {
		if unicode.In(c, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp) && !strings.ContainsRune(allowed, c) {
			t.Errorf("%q in %q", c, s)
		}
	}
}
