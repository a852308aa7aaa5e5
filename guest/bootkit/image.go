package bootkit

import (
	"context"
	"fmt"
	"os"
	"time"

	"hooksmith/guest/dockerd/engine"
)

// getImage has the worker's image in docker's store when it returns nil. It pulls, since a tag may have moved, and is
// content with an image that is there when that fails.
func (b *bootkit) getImage(ctx context.Context) error {
	ref := b.config.image
	// 1. Where a pull has nothing to give, a look is enough.
	if isLocal(ref) {
		there, err := b.docker.HasImage(ctx, ref)
		if err != nil {
			return err
		}
		if there {
			b.log.Printf("image %s is on this machine", ref)
			return nil
		}
	}
	// 2. A pull, when docker has the certificates for it.
	b.awaitFor(ctx, "the CA certificates of registry_ca=", func() bool {
		_, err := os.Stat(b.caPending)
		return err != nil
	})
	err := b.pull(ctx, ref)
	if err == nil || ctx.Err() != nil {
		return ctx.Err()
	}
	// 3. What is there.
	if there, _ := b.docker.HasImage(ctx, ref); there {
		b.log.Printf("%v; taking the image of that name that is on this machine", err)
		return nil
	}
	if advice := b.config.advice(err); advice != "" {
		return fmt.Errorf("%w; %s", err, advice)
	}
	return err
}

// awaitFor waits until ready, which is likely to be soon, or until its patience is over.
func (b *bootkit) awaitFor(ctx context.Context, what string, ready func() bool) {
	if ready() {
		return
	}
	b.log.Printf("waiting for %s, at most %s", what, b.patience)
	for end := time.Now().Add(b.patience); ctx.Err() == nil && time.Now().Before(end) && !ready(); {
		pause(ctx, 100*time.Millisecond)
	}
}

// pull pulls the image and says how far it is every few seconds.
func (b *bootkit) pull(ctx context.Context, ref string) error {
	auth := b.config.credentials()
	with := ""
	if auth != (engine.Auth{}) {
		with = " with credentials"
	}
	b.log.Printf("pulling %s%s", ref, with)
	begun := time.Now()
	told := begun
	var last engine.Progress
	err := b.docker.Pull(ctx, ref, auth, func(p engine.Progress) {
		last = p
		if time.Since(told) >= progressEvery {
			told = time.Now()
			b.log.Printf("pulling %s: %d of %d layers, %s of %s", ref, p.Done, p.Layers, megabytes(p.Bytes), megabytes(p.Total))
		}
	})
	if err != nil {
		return err
	}
	b.log.Printf("pulled %s in %.1fs (%s downloaded)", ref, time.Since(begun).Seconds(), megabytes(last.Bytes))
	return nil
}

const progressEvery = 5 * time.Second

func megabytes(n int64) string { return fmt.Sprintf("%.1f MB", float64(n)/1e6) }
