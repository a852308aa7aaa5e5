package publish_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"testing"

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
