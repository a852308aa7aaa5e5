package build

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"hooksmith/build/fetch"
	"hooksmith/build/rootfs"
)

// Of two who find an index damaged one removes it first, which is no trouble for
// the other. An index that does not fit when it was made again is an error.
func TestDamagedIndexOfTwo(t *testing.T) {
	s := &layers{cache: &fetch.Cache{Dir: t.TempDir(), Log: slog.New(slog.DiscardHandler)}}
	derived := 0
	derive := func() (*os.File, error) {
		derived++
		name := filepath.Join(t.TempDir(), "index")
		f := must(os.Create(name))
		return f, os.Remove(name)
	}
	for fits, want := range map[int]int{1: 1, 2: 2, 3: 2} { // at which try it fits -> how many there are
		derived = 0
		ix, err := s.readIndex("index", derive, func([]byte) (*rootfs.Layer, error) {
			if derived < fits {
				return nil, errors.New("damaged")
			}
			return &rootfs.Layer{}, nil
		})
		if derived != want || (err == nil) != (fits <= want) || (ix == nil) != (err != nil) {
			t.Errorf("try %d fits: %v after %d", fits, err, derived)
		}
	}
}
