package lease

import (
	"container/heap"
	"iter"
	"math"
)

// tree maps addresses to the moment from which each is free again. It answers
// two questions about any run of addresses in a few hundred steps, however many
// it holds: which address is not in it, and which has the smallest moment. A
// node covers sixteen of the next level; what is empty takes no memory.
type tree struct {
	root node
}

type node struct {
	used uint64     // addresses below
	min  int64      // the smallest of their keys
	kids *[16]*node // of all levels but the last
	leaf *[16]int64 // of the last
	has  uint16     // which of leaf count
}

const topShift = 28

// set adds the address or changes its key.
func (t *tree) set(n uint32, key int64) { t.root.set(n, topShift, key) }

// clear removes the address.
func (t *tree) clear(n uint32) { t.root.clear(n, topShift) }

func (n *node) set(ip uint32, shift int, key int64) (added bool) {
	i := ip >> shift & 15
	if shift == 0 {
		if n.leaf == nil {
			n.leaf = new([16]int64)
		}
		added = n.has&(1<<i) == 0
		n.has |= 1 << i
		n.leaf[i] = key
	} else {
		if n.kids == nil {
			n.kids = new([16]*node)
		}
		if n.kids[i] == nil {
			n.kids[i] = new(node)
		}
		added = n.kids[i].set(ip, shift-4, key)
	}
	if added {
		n.used++
	}
	n.minimum()
	return added
}

func (n *node) clear(ip uint32, shift int) (removed bool) {
	i := ip >> shift & 15
	switch {
	case shift == 0:
		removed = n.has&(1<<i) != 0
		n.has &^= 1 << i
	case n.kids != nil && n.kids[i] != nil:
		if removed = n.kids[i].clear(ip, shift-4); n.kids[i].used == 0 {
			n.kids[i] = nil
		}
	}
	if removed {
		n.used--
		n.minimum()
	}
	return removed
}

func (n *node) minimum() {
	n.min = math.MaxInt64
	if n.leaf != nil {
		for i, key := range n.leaf {
			if n.has&(1<<i) != 0 {
				n.min = min(n.min, key)
			}
		}
	}
	if n.kids != nil {
		for _, kid := range n.kids {
			if kid != nil {
				n.min = min(n.min, kid.min)
			}
		}
	}
}

// firstFree returns the first address of s that is not in the tree.
func (t *tree) firstFree(s span) (uint32, bool) { return t.root.firstFree(0, topShift, s) }

func (n *node) firstFree(base uint32, shift int, s span) (uint32, bool) {
	for i := range uint32(16) {
		part := cell(base, i, shift)
		if part.to < s.from || part.from > s.to {
			continue
		}
		if shift == 0 {
			if n.has&(1<<i) == 0 {
				return part.from, true
			}
			continue
		}
		if n.kids == nil || n.kids[i] == nil {
			return max(part.from, s.from), true
		}
		if n.kids[i].used == part.size() {
			continue
		}
		if ip, ok := n.kids[i].firstFree(part.from, shift-4, s); ok {
			return ip, true
		}
	}
	return 0, false
}

// cell is what the i-th part of a node covers.
func cell(base, i uint32, shift int) span {
	from := base | i<<shift
	return span{from: from, to: from + (1<<shift - 1)}
}

// ascending yields the addresses of s, smallest key first.
func (t *tree) ascending(s span) iter.Seq2[uint32, int64] {
	return func(yield func(uint32, int64) bool) {
		if t.root.used == 0 {
			return
		}
		open := frontier{{node: &t.root, key: t.root.min, shift: topShift}}
		for len(open) > 0 {
			best := heap.Pop(&open).(reach)
			if best.node == nil {
				if !yield(best.base, best.key) {
					return
				}
				continue
			}
			open.expand(best, s)
		}
	}
}

// reach is a part of the tree that is not looked into yet: a node, or, without
// one, an address.
type reach struct {
	node  *node
	base  uint32
	shift int
	key   int64
}

type frontier []reach

func (f *frontier) expand(r reach, s span) {
	for i := range uint32(16) {
		part := cell(r.base, i, r.shift)
		if part.to < s.from || part.from > s.to {
			continue
		}
		switch {
		case r.shift == 0:
			if r.node.has&(1<<i) != 0 {
				heap.Push(f, reach{base: part.from, key: r.node.leaf[i]})
			}
		case r.node.kids != nil && r.node.kids[i] != nil:
			kid := r.node.kids[i]
			heap.Push(f, reach{node: kid, base: part.from, shift: r.shift - 4, key: kid.min})
		}
	}
}

func (f frontier) Len() int      { return len(f) }
func (f frontier) Swap(i, j int) { f[i], f[j] = f[j], f[i] }
func (f frontier) Less(i, j int) bool {
	if f[i].key != f[j].key {
		return f[i].key < f[j].key
	}
	return f[i].base < f[j].base
}
func (f *frontier) Push(x any) { *f = append(*f, x.(reach)) }
func (f *frontier) Pop() any {
	last := (*f)[len(*f)-1]
	*f = (*f)[:len(*f)-1]
	return last
}
