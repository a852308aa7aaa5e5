package embed

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/distribution/reference"
)

// Merge makes one set of several lists: one Want for each image, however it is
// spelled, sorted by name. Of two images that want one name, the one that was
// asked for expressly has it, and of two from lists the earlier one; that two
// were asked for expressly is an error. Dropped are images that have lost
// their only name.
func Merge(lists ...[]Want) (set, dropped []Want, err error) {
	all := slices.Concat(lists...)
	slices.SortStableFunc(all, func(x, y Want) int {
		return cmp.Compare(rank(x), rank(y)) // express ones first
	})
	m := merger{owner: map[string]int{}, index: map[string]int{}}
	for _, w := range all {
		if err := m.add(w); err != nil {
			return nil, nil, err
		}
	}
	for i := range m.set {
		slices.Sort(m.set[i].Names)
	}
	slices.SortFunc(m.set, func(x, y Want) int {
		return cmp.Or(slices.Compare(x.Names, y.Names), strings.Compare(x.Source, y.Source), strings.Compare(x.Digest, y.Digest))
	})
	return m.set, m.dropped, nil
}

func rank(w Want) int {
	if w.FromList {
		return 1
	}
	return 0
}

// merger is a set that grows.
type merger struct {
	set, dropped []Want
	owner        map[string]int // name -> place in set
	index        map[string]int // what an image is known by -> place in set
}

func (m *merger) add(w Want) error {
	i, known := m.find(w)
	names := w.Names
	w.Names = nil
	if known {
		m.set[i].join(w)
	} else {
		i = len(m.set)
		m.set = append(m.set, w)
	}
	for _, name := range names {
		switch at, taken := m.owner[name]; {
		case !taken:
			m.owner[name] = i
			m.set[i].Names = append(m.set[i].Names, name)
		case at != i && !w.FromList && (w.Digest == "" || w.Digest != m.set[at].Digest):
			return fmt.Errorf("%s and %s both want the name %s, for %s and %s: give one of them another name", m.set[at].Origin, w.Origin, name, m.set[at].Ref(), w.Ref())
		}
	}
	if !known && len(names) > 0 && len(m.set[i].Names) == 0 {
		w.Names = names
		m.dropped, m.set = append(m.dropped, w), m.set[:i]
		return nil
	}
	byDigest, tag := m.set[i].keys()
	for _, key := range append(byDigest, tag) {
		if _, taken := m.index[key]; !taken && key != "" {
			m.index[key] = i
		}
	}
	return nil
}

// find returns the place of the same image: one of the same repository that
// has the digest, or, if only one of the two has a digest, the tag.
func (m *merger) find(w Want) (int, bool) {
	byDigest, tag := w.keys()
	for _, key := range byDigest {
		if i, ok := m.index[key]; ok {
			return i, true
		}
	}
	i, ok := m.index[tag]
	return i, ok && (w.Digest == "" || m.set[i].Digest == "")
}

// keys are what an image is known by: its repository with each of its digests,
// and with the tag that its reference has; "": it has none.
func (w Want) keys() (byDigest []string, tag string) {
	named, err := reference.ParseNormalizedNamed(w.Source)
	if err != nil {
		return []string{w.Source}, ""
	}
	repository := reference.TrimNamed(named).String()
	for _, digest := range append([]string{w.Digest}, w.Known...) {
		if digest != "" {
			byDigest = append(byDigest, repository+"@"+digest)
		}
	}
	if t, ok := reference.TagNameOnly(named).(reference.Tagged); ok {
		tag = repository + ":" + t.Tag()
	}
	return byDigest, tag
}

// join adds what another Want says of the same image: its digest, if this one
// has none or that of the index that the other was exported from.
func (w *Want) join(other Want) {
	if w.Digest == "" && (other.Digest != "" || other.Export != "") || other.Digest != "" && slices.Contains(other.Known, w.Digest) {
		w.Source, w.Digest = other.Source, other.Digest
	}
	if w.Ref() == other.Ref() {
		w.Export = cmp.Or(w.Export, other.Export)
	}
	for _, digest := range other.Known {
		if !slices.Contains(w.Known, digest) {
			w.Known = append(w.Known, digest)
		}
	}
	w.FromList = w.FromList && other.FromList
}
