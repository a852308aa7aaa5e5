package publish_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"sync/atomic"
	"testing"

	"hooksmith/publish"
	"hooksmith/publish/store"
)

// TestS3Large: an upload in parts, and what the server copies of it.
func TestS3Large(t *testing.T) {
	s := startS3(t)
	const size = 70<<20 + 5
	data := make([]byte, size)
	_, err := rand.NewChaCha8([32]byte{7}).Read(data)
	must(t, err)
	put := func(addr, key string) error {
		st, err := store.Open(t.Context(), s.dest(addr), s.access)
		must(t, err)
		defer st.Close()
		return st.Put(t.Context(), "large", key, size, bytes.NewReader(data))
	}
	must(t, put(s.addr, "key"))
	st, err := store.Open(t.Context(), s.dest(s.addr), s.access)
	must(t, err)
	defer st.Close()
	must(t, st.Copy(t.Context(), "large", "copy"))
	must(t, st.Copy(t.Context(), "copy", "copy 2")) // over nothing, then over another
	must(t, st.Copy(t.Context(), "large", "copy 2"))
	for _, name := range []string{"large", "copy", "copy 2"} {
		rc, err := st.Get(t.Context(), name, 0, -1)
		must(t, err)
		h := sha256.New()
		_, err = io.Copy(h, rc)
		must(t, errors.Join(err, rc.Close()))
		if want := sha256.Sum256(data); !bytes.Equal(h.Sum(nil), want[:]) {
			t.Errorf("%s is not what was sent", name)
		}
	}
}

// sending counts what a flow counts as sent.
type sending struct{ n atomic.Int64 }

func (s *sending) Begin(string, int64) publish.Task { return s }
func (s *sending) Add(n int64)                      { s.n.Add(n) }
func (s *sending) Done(error)                       {}

// TestS3ResumeCounts: parts that are compared and not sent again are not
// counted as sent, nor held back by a limit.
func TestS3ResumeCounts(t *testing.T) {
	s := startS3(t)
	const size = 40 << 20
	dir := newSet(t, 1, 1, size)
	opt := s.options(dir)
	opt.Retry.Tries = 1
	opt.Dest = s.dest(newCutter(t, s.addr, 39<<20).addr)
	if _, err := publish.Publish(t.Context(), opt); err == nil {
		t.Fatal("published through a connection that was cut")
	}
	opt = s.options(dir)
	must(t, publish.Unlock(t.Context(), opt))
	shown := &sending{}
	opt.Observer = shown
	r, err := publish.Publish(t.Context(), opt)
	must(t, err)
	// One of the parts (16, 16 and 8 MiB) was whole before the cut.
	if part := int64(8 << 20); r.Sent > size-part+2*kernelSize || shown.n.Load() > size-part+2*kernelSize {
		t.Errorf("%d bytes sent, %d shown, of %d", r.Sent, shown.n.Load(), size)
	}
}
