package check

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"time"

	"hooksmith/publish/sign"
)

// Status is how a check came out.
type Status string

const (
	Pass Status = "pass"
	Warn Status = "warn" // works for some, or not for long
	Fail Status = "fail" // machines will not boot
	Skip Status = "skip" // could not be tried, or does not apply
)

// Result is one thing that was tried.
type Result struct {
	ID     string `json:"id"` // stable, for scripts: "initramfs.range"
	Title  string `json:"title"`
	Status Status `json:"status"`
	Detail string `json:"detail,omitempty"`
	Fix    string `json:"fix,omitempty"` // of a warn or a fail
}

// Report is all of them, in the order in which they were tried.
type Report struct {
	Target  string   `json:"target"`
	OK      bool     `json:"ok"` // nothing failed
	Results []Result `json:"results"`
}

// Worker is the image that EKS Anywhere tells HookOS to start
// (pkg/providers/tinkerbell/stack/stack.go).
const Worker = "127.0.0.1/embedded/tink-worker"

// Options say what is asked of the target; the zero value is what EKS Anywhere
// needs.
type Options struct {
	Arch   string          // x86_64 if "", or aarch64
	RAMMiB int64           // of the smallest machine; 0: not known
	Key    *sign.PublicKey // who must have signed hook.json; nil: nobody has to
	// Worker is the image that has to be embedded, "" for the one that EKS
	// Anywhere asks for. NoWorker: it is pulled from a registry.
	Worker   string
	NoWorker bool

	Roots   *x509.CertPool // that certificates are checked with; nil: the system's
	TempDir string         // for downloads, "" for the system's
	Stall   time.Duration  // after so long without a byte a server counts as dead; 0: one minute
	Slow    int64          // bytes per second below which a server is called slow; 0: 1 MiB
	Now     time.Time      // zero: the current time
	// Begin, if not nil, is told of each download of size bytes, -1 if that is
	// not known, and of how it goes on.
	Begin func(name string, size int64) (add func(n int64), done func(err error))
	// Told, if not nil, gets each result as soon as it is there.
	Told func(Result)
}

// checker collects results.
type checker struct {
	opt    Options
	report *Report
}

func (c *checker) add(id, title string, status Status, fix, detail string, args ...any) {
	r := Result{ID: id, Title: title, Status: status, Detail: fmt.Sprintf(detail, args...)}
	if status == Warn || status == Fail {
		r.Fix = fix
	}
	if status == Fail {
		c.report.OK = false
	}
	c.report.Results = append(c.report.Results, r)
	if c.opt.Told != nil {
		c.opt.Told(r)
	}
}

// Run tries the target: the URL of a folder, of an ISO image (.iso), or a
// local folder. What is wrong with the target is in the report; the error is
// about what kept the checks from being made: a cancelled context, a full disk.
func Run(ctx context.Context, target string, opt Options) (*Report, error) {
	opt.Arch = cmp.Or(opt.Arch, "x86_64")
	opt.Worker = cmp.Or(opt.Worker, Worker)
	opt.Stall = cmp.Or(opt.Stall, time.Minute)
	opt.Slow = cmp.Or(opt.Slow, 1<<20)
	if opt.Now.IsZero() {
		opt.Now = time.Now()
	}
	c := &checker{opt, &Report{Target: target, OK: true, Results: []Result{}}}
	var err error
	switch u := asURL(target); {
	case u == nil:
		err = c.folder(ctx, strings.TrimPrefix(target, "file://"))
	case strings.HasSuffix(strings.ToLower(u.Path), ".iso"):
		err = c.remote(ctx, u, c.iso)
	default:
		err = c.remote(ctx, u, c.site)
	}
	if ctxErr := ctx.Err(); ctxErr != nil {
		return nil, ctxErr
	}
	return c.report, err
}

// asURL is nil for what is a local path.
func asURL(target string) *url.URL {
	if !strings.Contains(target, "://") || strings.HasPrefix(target, "file://") {
		return nil
	}
	u, err := url.Parse(target)
	if err != nil {
		return &url.URL{Scheme: "invalid", Opaque: target}
	}
	return u
}

// names are the files that Smee's script asks for.
func (c *checker) names() (kernel, initramfs string) {
	return "vmlinuz-" + c.opt.Arch, "initramfs-" + c.opt.Arch
}

// folder looks into a local folder.
func (c *checker) folder(ctx context.Context, dir string) error {
	st, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("%w: give a folder or a URL", err)
	}
	if !st.IsDir() {
		return fmt.Errorf("%s is no folder; hooksmith inspect looks into files", dir)
	}
	files := &local{dir: dir, names: map[string]string{}}
	kernelName, initramfsName := c.names()
	for _, name := range []string{kernelName, initramfsName} {
		if st, err := os.Stat(files.path(name)); err == nil && st.Mode().IsRegular() {
			files.names[name] = files.path(name)
			c.add(short(name)+".there", name, Pass, "", "%d bytes", st.Size())
		} else {
			c.add(short(name)+".there", name, Fail, "build or copy it there: EKS Anywhere and Smee ask for exactly this name", "is not in the folder")
		}
	}
	return c.contents(ctx, files)
}

// short is the part of a file's name that ids begin with.
func short(name string) string {
	s, _, _ := strings.Cut(name, "-")
	return s
}

// remote checks the URL itself, then hands it on with a folder for downloads.
func (c *checker) remote(ctx context.Context, u *url.URL, then func(context.Context, *url.URL, *local) error) (err error) {
	if !c.address(u) {
		return nil
	}
	dir, err := os.MkdirTemp(c.opt.TempDir, "hooksmith-check-*")
	if err != nil {
		return fmt.Errorf("making a folder for the download: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	return then(ctx, u, &local{dir: dir, names: map[string]string{}})
}

// address checks what EKS Anywhere checks (url.ParseRequestURI), and what
// clients that append a name cannot do with.
func (c *checker) address(u *url.URL) bool {
	const id, title = "url", "URL"
	switch {
	case u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		c.add(id, title, Fail, "give an absolute URL such as http://192.168.2.1/hook", "%s is not one that iPXE loads from", u.Redacted())
		return false
	case u.User != nil:
		c.add(id, title, Fail, "let machines in by their network, not by a password", "it holds a user name; EKS Anywhere writes it into Kubernetes objects and iPXE scripts, in the clear")
	case u.RawQuery != "" || u.Fragment != "":
		c.add(id, title, Fail, "publish under a plain path", "it has a query or a fragment; the names of the files are appended to it")
	case u.Scheme == "https":
		c.add(id, title, Warn, "serve the same folder by http in the provisioning network, and let hashes and Secure Boot guard the files",
			"https: iPXE trusts only certificates that it was built with, or reaches through ca.ipxe.org; many machines will not load it")
	default:
		c.add(id, title, Pass, "", "%s", u.Redacted())
	}
	return true
}
