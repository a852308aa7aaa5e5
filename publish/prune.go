package publish

import (
	"context"
	"fmt"
	"slices"
)

// prune removes the oldest sets so that keep complete ones are left, the
// current one among them, and all that were never completed. 0 keeps all.
func (p *publisher) prune(ctx context.Context, keep int) (removed []string, err error) {
	if keep <= 0 {
		return nil, nil
	}
	for _, id := range p.index.excess(keep, nil) {
		e := p.index.find(id)
		e.Complete = false // nobody switches to what is being removed
		if err := p.index.save(ctx, p.store); err != nil {
			return removed, err
		}
		for _, f := range e.Files {
			if err := p.store.Delete(ctx, id+"/"+f.Name); err != nil {
				return removed, fmt.Errorf("removing set %s: %w", id, err)
			}
		}
		if err := p.store.Delete(ctx, id+"/"); err != nil {
			return removed, fmt.Errorf("removing set %s: %w", id, err)
		}
		p.index.drop(id)
		if err := p.index.save(ctx, p.store); err != nil {
			return removed, err
		}
		removed = append(removed, id)
	}
	return removed, nil
}

// excess lists the sets to remove, the oldest first; none that is in use.
func (x *Index) excess(keep int, used map[string]bool) (ids []string) {
	left := keep - 1 // besides the current one
	for _, e := range slices.Backward(x.Sets) {
		switch {
		case e.ID == x.Current, used[e.ID]:
		case e.Complete && left > 0:
			left--
		default:
			ids = append(ids, e.ID)
		}
	}
	slices.Reverse(ids)
	return ids
}
