package modules

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// entropySource is the front of virtio-rng's modalias.
const entropySource = "virtio:d00000004"

// settleCheck is how often the kernel's event number is looked at while nothing happens.
const settleCheck = 50 * time.Millisecond

// Devices lists the modaliases of all devices below sys ("/sys"), each once, in the order of buses and addresses.
func Devices(sys string) []string {
	var aliases []string
	for _, pattern := range []string{"bus/*/devices/*/modalias", "class/input/*/modalias", "class/dmi/*/modalias", "devices/system/cpu/modalias"} {
		files, _ := filepath.Glob(filepath.Join(sys, pattern))
		for _, file := range files {
			if text, err := os.ReadFile(file); err == nil {
				aliases = append(aliases, strings.TrimSpace(string(text)))
			}
		}
	}
	seen := map[string]bool{"": true}
	return slices.DeleteFunc(aliases, func(a string) bool {
		was := seen[a]
		seen[a] = true
		return was
	})
}

// Plugger loads modules for the devices there are and for those that come. The zero value with a Loader is ready.
type Plugger struct {
	Loader *Loader
	// Sys is where sysfs is; "" means /sys.
	Sys string

	mu      sync.Mutex
	queue   []string
	busy    int    // batches being loaded
	seen    uint64 // the last uevent that was handed in
	changed chan struct{}
	loading sync.WaitGroup
}

func (p *Plugger) sys() string {
	if p.Sys == "" {
		return "/sys"
	}
	return p.Sys
}

// Entropy loads the driver of a virtual machine's source of random numbers, if it has one.
func (p *Plugger) Entropy(ctx context.Context) {
	files, _ := filepath.Glob(filepath.Join(p.sys(), "bus/virtio/devices/*/modalias"))
	for _, file := range files {
		if text, err := os.ReadFile(file); err == nil && strings.HasPrefix(string(text), entropySource) {
			for _, name := range p.Loader.Wanted([]string{strings.TrimSpace(string(text))}) {
				p.Loader.loadLogged(ctx, name)
			}
		}
	}
}

// Coldplug loads modules for every device that is there and says how many devices asked. Their children announce
// themselves by uevents. The uevent socket must be open before, or what comes in between is missed.
func (p *Plugger) Coldplug(ctx context.Context) int {
	p.Event(p.kernelSeq(), "") // earlier events were sent to nobody; their devices are found now
	aliases := Devices(p.sys())
	p.begin()
	defer p.end()
	p.Loader.LoadAll(ctx, p.Loader.Wanted(aliases))
	return len(aliases)
}

// Event takes note of a uevent, and of the modalias of a device that came, "" for none. It does not block: Run loads.
func (p *Plugger) Event(seq uint64, modalias string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen = max(p.seen, seq)
	if modalias != "" {
		p.queue = append(p.queue, modalias)
	}
	p.notify()
}

// Run loads modules for the devices that Event brought until ctx ends. What comes together is matched together. It
// returns when no load is going on any more.
func (p *Plugger) Run(ctx context.Context) {
	defer p.loading.Wait()
	for {
		batch, changed := p.take()
		if len(batch) > 0 {
			// Matching reads all of modules.alias; what comes meanwhile is matched in one go.
			wanted := p.Loader.Wanted(batch)
			p.loading.Go(func() {
				defer p.end()
				p.Loader.LoadAll(ctx, wanted)
			})
			continue
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		}
	}
}

// take empties the queue; the batch counts as busy from then on.
func (p *Plugger) take() ([]string, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	batch := p.queue
	p.queue = nil
	if len(batch) > 0 {
		p.busy++
	}
	return batch, p.wait()
}

// Settle waits until all events that the kernel has sent were taken note of and all modules for them are loaded.
func (p *Plugger) Settle(ctx context.Context) error {
	for {
		p.mu.Lock()
		idle, seen, changed := p.busy == 0 && len(p.queue) == 0, p.seen, p.wait()
		p.mu.Unlock()
		if idle && seen >= p.kernelSeq() {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for the devices to settle: %w", ctx.Err())
		case <-changed:
		case <-time.After(settleCheck):
		}
	}
}

// kernelSeq is the number of the last uevent that the kernel has sent.
func (p *Plugger) kernelSeq() uint64 {
	text, err := os.ReadFile(filepath.Join(p.sys(), "kernel/uevent_seqnum"))
	if err != nil {
		return 0
	}
	seq, _ := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
	return seq
}

func (p *Plugger) begin() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.busy++
}

func (p *Plugger) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.busy--
	p.notify()
}

// notify wakes those who wait; the caller holds the lock.
func (p *Plugger) notify() {
	if p.changed != nil {
		close(p.changed)
		p.changed = nil
	}
}

// wait returns the channel that notify closes; the caller holds the lock.
func (p *Plugger) wait() <-chan struct{} {
	if p.changed == nil {
		p.changed = make(chan struct{})
	}
	return p.changed
}
