package docker

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
)

func TestDeclareArgs(t *testing.T) {
	const args = "ARG TARGETPLATFORM\nARG TARGETOS\nARG TARGETARCH\nARG TARGETVARIANT\n"
	for in, want := range map[string]string{
		"FROM --platform=${TARGETARCH} a\n":                                     args + "FROM --platform=${TARGETARCH} a\n",
		"# syntax=docker/dockerfile:1\n#escape = `\n# note\nFROM a:$TARGETOS\n": "# syntax=docker/dockerfile:1\n#escape = `\n" + args + "# note\nFROM a:$TARGETOS\n",
		"FROM a\nARG TARGETARCH\nRUN echo $TARGETARCH\n":                        "FROM a\nARG TARGETARCH\nRUN echo $TARGETARCH\n",
		"": "",
	} {
		var out bytes.Buffer
		if err := declareArgs(t.Context(), &out, contextOf("Dockerfile", in, "x", "FROM $TARGETARCH")); err != nil {
			t.Fatal(err)
		}
		var got []string
		for tr := tar.NewReader(&out); ; {
			h, err := tr.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			text, _ := io.ReadAll(tr)
			got = append(got, h.Name, string(text))
		}
		if !slices.Equal(got, []string{"Dockerfile", want, "x", "FROM $TARGETARCH"}) {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

// TestDeclareArgsErrors: what is wrong with a context is the build's error.
func TestDeclareArgsErrors(t *testing.T) {
	for name, write := range map[string]func(context.Context, io.Writer) error{
		"disk":     func(context.Context, io.Writer) error { return errors.New("disk is tired") },
		"has":      contextOf("Dockerfile", strings.Repeat("#", maxDockerfile+1)),
		"EOF":      func(_ context.Context, w io.Writer) error { _, err := w.Write([]byte("short")); return err },
		"no space": contextOf("Dockerfile", "FROM x"),
	} {
		var w io.Writer = io.Discard
		if name == "no space" {
			w = failing{}
		}
		if err := declareArgs(t.Context(), w, write); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("error %v, want %s", err, name)
		}
	}
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, errors.New("no space left on device") }

// contextOf is a build context of files: name, content, name, content.
func contextOf(files ...string) func(context.Context, io.Writer) error {
	return func(_ context.Context, w io.Writer) error {
		tw := tar.NewWriter(w)
		for i := 0; i < len(files); i += 2 {
			if err := tw.WriteHeader(&tar.Header{Name: files[i], Mode: 0o644, Size: int64(len(files[i+1]))}); err != nil {
				return err
			}
			if _, err := io.WriteString(tw, files[i+1]); err != nil {
				return err
			}
		}
		return tw.Close()
	}
}

// field is a length-delimited protobuf field.
func field(n uint64, content ...[]byte) []byte {
	all := bytes.Join(content, nil)
	b := binary.AppendUvarint(nil, n<<3|bytesType)
	return append(binary.AppendUvarint(b, uint64(len(all))), all...)
}

func trace(parts ...[]byte) string {
	return fmt.Sprintf(`{"id":"moby.buildkit.trace","aux":%q}`, base64.StdEncoding.EncodeToString(bytes.Join(parts, nil)))
}

func TestFollowBuild(t *testing.T) {
	vertex := field(statusVertex, field(1, []byte("sha256:1")), field(vertexName, []byte("[2/2] RUN make")), field(vertexStarted, []byte{8, 1}))
	done := field(statusVertex, field(vertexName, []byte("[1/2] FROM x")), field(vertexStarted, []byte{8, 1}), field(vertexCompleted, []byte{8, 2}))
	log := field(statusLog, field(1, []byte("sha256:1")), []byte{3<<3 | varintType, 1}, field(logMessage, []byte("cc -o x\nmake: *** [all] Error 1\n")))
	for _, tt := range []struct {
		name, in string
		want     string // "": no error
	}{
		{"classic, well", `{"stream":"Step 1/1 : FROM x\n"}{"stream":" ---> 123\n"}{"aux":{"ID":"sha256:1"}}{"stream":"Successfully built"}`, ""},
		{"classic, error", `{"stream":"Step 1/2 : RUN make\n"}{"stream":"cc "}{"stream":"-o x\n"}{"errorDetail":{"code":1,"message":"returned 1"},"error":"returned 1"}`,
			"returned 1\nthe end of its output:\n  Step 1/2 : RUN make\n  cc -o x"},
		{"BuildKit, well", trace(vertex, log) + `{"id":"moby.image.id","aux":{"ID":"sha256:1"}}`, ""},
		{"BuildKit, error", trace(done, vertex) + trace(log) + `{"errorDetail":{"message":"exit code: 2"}}`,
			"exit code: 2\nthe end of its output:\n  [2/2] RUN make\n  cc -o x\n  make: *** [all] Error 1"},
		{"no output", `{"error":"daemon is tired"}`, "daemon is tired"},
		{"damaged trace", `{"id":"moby.buildkit.trace","aux":"!!"}{"id":"moby.buildkit.trace","aux":{}}{"error":"e"}`, "e"},
		{"not JSON", `<html>`, "reading the build's output: invalid character '<' looking for beginning of value"},
		{"cut", `{"stream":"x`, "reading the build's output: unexpected EOF"},
	} {
		err := followBuild(strings.NewReader(tt.in), nil)
		if got := fmt.Sprint(err); got != tt.want && !(err == nil && tt.want == "") {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
	long := strings.Repeat(`{"stream":"`+strings.Repeat("x", 200)+`\n"}`, 5000) + `{"error":"e"}`
	if err := followBuild(strings.NewReader(long), nil); len(err.Error()) > tailLines*210+100 {
		t.Errorf("an error of %d bytes", len(err.Error()))
	}
}

func FuzzProtobuf(f *testing.F) {
	f.Add(field(1, field(3, []byte("x"))))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01})
	f.Add([]byte{2, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f})
	f.Fuzz(func(t *testing.T, b []byte) {
		n := 0
		eachField(b, func(_ uint64, v []byte) { n += len(v) })
		if n > len(b) {
			t.Errorf("%d bytes of fields in %d bytes", n, len(b))
		}
	})
}
