package build

import (
	"context"
	"crypto/sha256"
	"encoding"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"

	"hooksmith/build/fetch"
	"hooksmith/build/initramfs"
)

// The hashes of a file can go on from where its beginning ends, if that is the
// beginning of a file that was hashed before. So the cache keeps the state of
// both hashes after each segment, under the hashes of all segments so far, and
// the rebuild after a change hashes only from the first changed segment on.

// boundary is the end of a segment in a file.
type boundary struct {
	offset int64
	key    string // names every byte before it
	state  hashState
}

// hashState is what the cache keeps for a boundary.
type hashState struct {
	SHA256 []byte `json:"sha256"`
	SHA512 []byte `json:"sha512"`
	Check  []byte `json:"check"` // SHA-256 over both
}

func (s hashState) check() []byte {
	sum := sha256.Sum256(append(append([]byte{}, s.SHA256...), s.SHA512...))
	return sum[:]
}

// place prepares for these segments, the first of which comes where the file
// ends now. It returns how many of them, from the first on, need not be
// hashed, and takes them for written; whoever calls it writes them.
func (h *hashing) place(ctx context.Context, cache *fetch.Cache, infos []initramfs.Info) (n int) {
	start := h.size
	key := sha256.New()
	h.sums[0].do(func(sum hash.Hash) { fmt.Fprintf(key, "%d %x\n", start, sum.Sum(nil)) })
	for _, info := range infos {
		fmt.Fprintf(key, "%d %d %s\n", info.Offset, info.Size, info.SHA256)
		h.pending = append(h.pending, &boundary{offset: start + info.Offset + info.Size, key: "hashes of a file 1\n" + hex.EncodeToString(key.Sum(nil))})
	}
	for n = len(h.pending); n > 0; n-- {
		if b := h.pending[n-1]; b.load(ctx, cache) && h.restore(b.state) {
			h.size, h.pending = b.offset, h.pending[n:]
			return n
		}
	}
	return 0
}

// load reads the state from the cache, if it is there and whole.
func (b *boundary) load(ctx context.Context, cache *fetch.Cache) bool {
	if !cache.Has(b.key) {
		return false
	}
	f, err := cache.Derive(ctx, b.key, func(context.Context, io.Writer) error { return errors.New("it was pruned") })
	if err != nil {
		return false
	}
	defer f.Close()
	err = json.NewDecoder(io.LimitReader(f, 1<<16)).Decode(&b.state)
	return err == nil && string(b.state.Check) == string(b.state.check())
}

// restore puts both hashes into a state, or leaves both as they are.
func (h *hashing) restore(s hashState) bool {
	var before [2][]byte
	ok := true
	for i, state := range [][]byte{s.SHA256, s.SHA512} {
		h.sums[i].do(func(sum hash.Hash) {
			before[i], _ = sum.(encoding.BinaryMarshaler).MarshalBinary()
			ok = sum.(encoding.BinaryUnmarshaler).UnmarshalBinary(state) == nil && ok
		})
	}
	for i, s := range h.sums {
		if !ok { // another Go release's
			s.do(func(sum hash.Hash) { _ = sum.(encoding.BinaryUnmarshaler).UnmarshalBinary(before[i]) })
		}
	}
	return ok
}

// pass notes the state of the hashes where a segment has ended.
func (h *hashing) pass() {
	for len(h.pending) > 0 && h.pending[0].offset == h.size {
		b := h.pending[0]
		for i, state := range []*[]byte{&b.state.SHA256, &b.state.SHA512} {
			h.sums[i].feed <- func(sum hash.Hash) { *state, _ = sum.(encoding.BinaryMarshaler).MarshalBinary() }
		}
		h.passed, h.pending = append(h.passed, b), h.pending[1:]
	}
}

// keep puts the states of the boundaries that were passed into the cache.
func (h *hashing) keep(ctx context.Context, cache *fetch.Cache) error {
	for _, s := range h.sums {
		s.do(func(hash.Hash) {}) // until all states are noted
	}
	for _, b := range h.passed {
		f, err := cache.Derive(ctx, b.key, func(_ context.Context, w io.Writer) error {
			b.state.Check = b.state.check()
			return json.NewEncoder(w).Encode(b.state)
		})
		if err != nil {
			return err
		}
		if err := f.Close(); err != nil {
			return err
		}
	}
	return nil
}
