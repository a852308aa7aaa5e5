package engine

import (
	"bytes"
	"context"
	"encoding/binary"
	"net"
	"net/http"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func TestReadPull(t *testing.T) {
	for _, test := range []struct {
		name, stream string
		want         Progress
		err          string
	}{
		{"nothing", "", Progress{}, ""},
		{
			// As dockerd 26.1.5 writes it.
			"a pull",
			`{"status":"Pulling from tink-worker","id":"latest"}
{"status":"Pulling fs layer","progressDetail":{},"id":"aaaa"}
{"status":"Already exists","progressDetail":{},"id":"bbbb"}
{"status":"Downloading","progressDetail":{"current":10,"total":40},"progress":"[=>  ]","id":"aaaa"}
{"status":"Download complete","progressDetail":{},"id":"aaaa"}
{"status":"Extracting","progressDetail":{"current":5,"total":40},"id":"aaaa"}
{"status":"Pull complete","progressDetail":{},"id":"aaaa"}
{"status":"Digest: sha256:1234"}
{"status":"Status: Downloaded newer image for x:latest"}
`, Progress{Layers: 2, Done: 2, Bytes: 40, Total: 40}, "",
		},
		{"an error in the stream", `{"status":"Pulling fs layer","id":"a"}` + "\n" + `{"errorDetail":{"message":"no"},"error":"unexpected EOF"}` + "\n", Progress{Layers: 1}, "docker says: unexpected EOF"},
		{"garbage", "not JSON\n{\"id\":3}\n[]\n", Progress{}, ""},
		{"a layer that was not announced", `{"status":"Downloading","progressDetail":{"current":10,"total":40},"id":"zz"}` + "\n", Progress{}, ""},
		{"negative sizes", `{"status":"Pulling fs layer","id":"a"}` + "\n" + `{"status":"Downloading","progressDetail":{"current":-1,"total":-5},"id":"a"}` + "\n", Progress{Layers: 1}, ""},
		{"an endless line", strings.Repeat("x", maxMessage+1), Progress{}, "token too long"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var last Progress
			err := readPull(strings.NewReader(test.stream), func(p Progress) { last = p })
			if test.err == "" && err != nil || test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)) {
				t.Errorf("error %v, want %q", err, test.err)
			}
			if last != test.want {
				t.Errorf("progress %+v, want %+v", last, test.want)
			}
		})
	}
}

// frame is one frame of a log.
func frame(stream byte, text string) string {
	header := make([]byte, 8)
	header[0] = stream
	binary.BigEndian.PutUint32(header[4:], uint32(len(text)))
	return string(header) + text
}

func TestReadLogs(t *testing.T) {
	for _, test := range []struct {
		name, stream string
		n            int
		want         []string
	}{
		{"nothing", "", 5, []string{}},
		{"two streams", frame(1, "one\n") + frame(2, "two\r\n") + frame(1, "three\n"), 5, []string{"one", "two", "three"}},
		{"the last ones", frame(1, "one\ntwo\n") + frame(1, "three\n"), 2, []string{"two", "three"}},
		{"a line over frames", frame(1, "on") + frame(1, "e\n"), 5, []string{"one"}},
		{"a terminal's", "one\ntwo\n", 5, []string{"one", "two"}},
		{"shorter than a header", "hi", 5, []string{"hi"}},
		{"cut", frame(1, "one\ntwo\n")[:12], 5, []string{"one"}},
		{"a length that lies", frame(1, "one\n")[:4] + "\xff\xff\xff\xff" + "one\n", 5, []string{"one"}},
	} {
		got, err := readLogs(strings.NewReader(test.stream), test.n)
		if err != nil || !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s: %q, %v, want %q", test.name, got, err, test.want)
		}
	}
}

func FuzzStreams(f *testing.F) {
	f.Add([]byte(`{"status":"Pulling fs layer","id":"a"}` + "\n" + `{"status":"Downloading","progressDetail":{"current":1,"total":2},"id":"a"}` + "\n"))
	f.Add([]byte(frame(1, "one\n") + frame(2, "two")))
	f.Add([]byte{1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, stream []byte) {
		err := readPull(bytes.NewReader(stream), func(p Progress) {
			if p.Layers > maxLayers || p.Done > p.Layers || p.Layers < 0 {
				t.Errorf("progress %+v", p)
			}
		})
		_ = err
		if lines, err := readLogs(bytes.NewReader(stream), 3); err == nil && len(lines) > 3 {
			t.Errorf("%d lines", len(lines))
		}
	})
}

func TestWithTag(t *testing.T) {
	for ref, want := range map[string]string{
		"alpine": "alpine:latest", "a/b:1": "a/b:1", "host:5000/a": "host:5000/a:latest", "host:5000/a:b": "host:5000/a:b",
		"a@sha256:00": "a@sha256:00",
	} {
		if got := withTag(ref); got != want {
			t.Errorf("withTag(%q) = %q, want %q", ref, got, want)
		}
	}
}

// TestRefusals has a daemon that refuses: what it says must arrive, and only so much of it.
func TestRefusals(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "docker.sock")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/info", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, `{"message":"not today"}`, 500) })
	mux.HandleFunc("/_ping", func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "plain words", http.StatusServiceUnavailable)
	})
	mux.HandleFunc("/containers/create", func(w http.ResponseWriter, _ *http.Request) {
		for range 64 {
			w.Write(bytes.Repeat([]byte(" "), 1<<20))
		}
	})
	server := &http.Server{Handler: mux}
	go server.Serve(listener)
	t.Cleanup(func() { server.Close() })

	c := New(socket)
	ctx := context.Background()
	if _, err := c.Info(ctx); err == nil || err.Error() != "docker says: not today" {
		t.Errorf("Info: %v", err)
	}
	if err := c.Ping(ctx); err == nil || !strings.Contains(err.Error(), "503 Service Unavailable plain words") {
		t.Errorf("Ping: %v", err)
	}
	if _, err := c.Create(ctx, "x", Spec{}); err == nil || !strings.Contains(err.Error(), "EOF") {
		t.Errorf("Create with an endless answer: %v", err)
	}
	if ok, err := c.HasImage(ctx, "x"); ok || err != nil {
		t.Errorf("HasImage of none: %v, %v", ok, err)
	}
	if _, ok, err := c.Inspect(ctx, "x"); ok || err != nil {
		t.Errorf("Inspect of none: %v, %v", ok, err)
	}
	if err := c.Remove(ctx, "x"); err != nil {
		t.Errorf("Remove of none: %v", err)
	}
	if err := New(socket + ".absent").Ping(ctx); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("Ping of no daemon: %v", err)
	}
}
