package publish

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"regexp"
	"slices"
	"strings"
	"time"

	"hooksmith/publish/store"
	"hooksmith/publish/verify"
)

const (
	indexName   = ".hooksmith/index.json"
	lockName    = ".hooksmith/publish.lock"
	maxIndex    = 16 << 20
	maxSets     = 4096
	indexSchema = 1
)

var idPattern = regexp.MustCompile(`^[0-9a-f]{16}$`)

// Index is what a destination holds.
type Index struct {
	Schema    int        `json:"schema"`
	Current   string     `json:"current"`             // the set that the stable names mean; "" before the first
	Switching *Switching `json:"switching,omitempty"` // what is going on, or was cut off
	Sets      []Entry    `json:"sets"`                // in the order in which they were published
}

// Switching is a switch that has begun.
type Switching struct {
	From string `json:"from"`
	To   string `json:"to"`
}

// Entry is one set below its id.
type Entry struct {
	ID        string    `json:"id"`
	Published time.Time `json:"published"`
	Complete  bool      `json:"complete"` // every byte was read back
	Flavors   []string  `json:"flavors,omitempty"`
	Kernels   []string  `json:"kernels,omitempty"`
	Signed    bool      `json:"signed,omitempty"`
	Files     []Object  `json:"files"`
}

// Object is one file of a set.
type Object struct {
	Name   string `json:"name"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
	Role   string `json:"role,omitempty"` // as in hook.json; "" for documents
	Arch   string `json:"arch,omitempty"`
}

// Bytes is the size of a set.
func (e *Entry) Bytes() (n int64) {
	for _, f := range e.Files {
		n += f.Size
	}
	return n
}

func (x *Index) find(id string) *Entry {
	for i := range x.Sets {
		if x.Sets[i].ID == id {
			return &x.Sets[i]
		}
	}
	return nil
}

// resolve finds a complete set by its id or the beginning of it.
func (x *Index) resolve(id string) (*Entry, error) {
	var found []*Entry
	for i := range x.Sets {
		if strings.HasPrefix(x.Sets[i].ID, id) && x.Sets[i].Complete {
			found = append(found, &x.Sets[i])
		}
	}
	if len(found) != 1 || id == "" {
		return nil, fmt.Errorf("%q means %d of the sets that are published (--list shows them)", id, len(found))
	}
	return found[0], nil
}

// put adds or replaces an entry; a set published again becomes the newest.
func (x *Index) put(e Entry) {
	x.Sets = slices.DeleteFunc(x.Sets, func(o Entry) bool { return o.ID == e.ID })
	x.Sets = append(x.Sets, e)
}

func (x *Index) drop(id string) {
	x.Sets = slices.DeleteFunc(x.Sets, func(o Entry) bool { return o.ID == id })
}

// ParseIndex reads an index, which anybody who can write to the destination
// may have made.
func ParseIndex(data []byte) (*Index, error) {
	var x Index
	if err := json.Unmarshal(data, &x); err != nil {
		return nil, err
	}
	if x.Schema != indexSchema {
		return nil, fmt.Errorf("schema %d, this hooksmith knows %d", x.Schema, indexSchema)
	}
	if len(x.Sets) > maxSets {
		return nil, fmt.Errorf("%d sets, over %d", len(x.Sets), maxSets)
	}
	seen := map[string]bool{}
	for _, e := range x.Sets {
		if !idPattern.MatchString(e.ID) || seen[e.ID] {
			return nil, fmt.Errorf("the set id %q is none, or there twice", e.ID)
		}
		seen[e.ID] = true
		for _, f := range e.Files {
			if !verify.PlainName(f.Name) || f.Size < 0 || len(f.SHA256) != 64 {
				return nil, fmt.Errorf("set %s has a file %q that cannot be", e.ID, f.Name)
			}
		}
	}
	if x.Current != "" && !seen[x.Current] {
		return nil, fmt.Errorf("the current set %q is not in it", x.Current)
	}
	if s := x.Switching; s != nil && (!seen[s.To] || s.From != "" && !seen[s.From]) {
		return nil, errors.New("it speaks of a switch between sets that are not in it")
	}
	return &x, nil
}

// loadIndex reads the index; an empty one if there is none.
func loadIndex(ctx context.Context, s store.Store) (*Index, error) {
	data, err := readSmall(ctx, s, indexName, maxIndex)
	if errors.Is(err, fs.ErrNotExist) {
		return &Index{Schema: indexSchema}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", indexName, err)
	}
	x, err := ParseIndex(data)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w (move it away to begin anew; the sets themselves stay)", indexName, err)
	}
	return x, nil
}

func (x *Index) save(ctx context.Context, s store.Store) error {
	data, err := json.MarshalIndent(x, "", " ")
	if err != nil {
		return err
	}
	if err := s.Put(ctx, indexName, "", int64(len(data)), bytes.NewReader(data)); err != nil {
		return fmt.Errorf("writing %s: %w", indexName, err)
	}
	return nil
}

func readSmall(ctx context.Context, s store.Store, name string, limit int64) ([]byte, error) {
	rc, err := s.Get(ctx, name, 0, -1)
	if err != nil {
		return nil, err
	}
	defer rc.Close()
	data, err := io.ReadAll(io.LimitReader(rc, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("over %d bytes", limit)
	}
	return data, err
}
