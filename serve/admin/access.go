package admin

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

const cookieName = "hooksmith"

// access decides who may look. Without a token everyone who reaches the address
// may; browsers are kept from being used by other sites in either case.
type access struct {
	token  string
	cookie string // what a browser that has logged in holds
	hosts  []string
	now    func() time.Time
	cross  *http.CrossOriginProtection
	fails  *failures
}

func newAccess(c Config) access {
	a := access{token: c.Token, now: c.Now, cross: http.NewCrossOriginProtection(), fails: &failures{}}
	for _, host := range c.Hosts {
		a.hosts = append(a.hosts, strings.TrimSuffix(strings.ToLower(host), "."))
	}
	if c.Token != "" {
		// Derived, so that it survives a restart; a new token ends it.
		mac := hmac.New(sha256.New, []byte(c.Token))
		mac.Write([]byte("hooksmith admin cookie 1"))
		a.cookie = hex.EncodeToString(mac.Sum(nil))
	}
	return a
}

// sameSite refuses what another site's page would make a browser do: names that
// are not ours (DNS rebinding), and requests with a foreign Origin.
func (a *access) sameSite(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !a.ownHost(r.Host) {
			http.Error(w, "this server is not known by the name "+printable(r.Host)+": use its IP address, or add the name by --admin-name", http.StatusMisdirectedRequest)
			return
		}
		if origin := r.Header.Get("Origin"); origin != "" {
			u, err := url.Parse(origin)
			if err != nil || !strings.EqualFold(u.Host, r.Host) {
				http.Error(w, "requests of other sites are not answered", http.StatusForbidden)
				return
			}
		}
		if err := a.cross.Check(r); err != nil {
			http.Error(w, "requests of other sites are not answered", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (a *access) ownHost(hostport string) bool {
	host := hostport
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		host = h
	}
	host = strings.TrimSuffix(strings.ToLower(strings.Trim(host, "[]")), ".")
	if _, err := netip.ParseAddr(host); err == nil || host == "localhost" {
		return true
	}
	return slices.Contains(a.hosts, host) || slices.Contains(a.hosts, "*")
}

// guard lets through who has the token, by header or cookie.
func (a *access) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if a.allowed(r) {
			next.ServeHTTP(w, r)
			return
		}
		if isPage(r) {
			http.Redirect(w, r, "/login?to="+url.QueryEscape(r.URL.RequestURI()), http.StatusSeeOther)
			return
		}
		w.Header().Set("WWW-Authenticate", `Bearer realm="hooksmith"`)
		apiError(w, http.StatusUnauthorized, "a token is needed: send it as \"Authorization: Bearer TOKEN\"")
	})
}

// isPage reports whether a person's browser asks for a page.
func isPage(r *http.Request) bool {
	return r.Method == http.MethodGet && !strings.HasPrefix(r.URL.Path, "/api/") && r.URL.Path != "/metrics" &&
		r.Header.Get("Authorization") == "" && r.URL.Query().Get("part") == ""
}

func (a *access) allowed(r *http.Request) bool {
	if a.token == "" {
		return true
	}
	if bearer, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
		return equal(strings.TrimSpace(bearer), a.token)
	}
	c, err := r.Cookie(cookieName)
	return err == nil && equal(c.Value, a.cookie)
}

// equal takes the same time whatever is equal, and hides lengths.
func equal(a, b string) bool {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}

// login takes the form of the page.
func (h *Handler) login(w http.ResponseWriter, r *http.Request) {
	a := &h.access
	r.Body = http.MaxBytesReader(w, r.Body, 8<<10)
	to := localPath(r.PostFormValue("to"))
	if a.fails.many(a.now()) {
		w.Header().Set("Retry-After", "60")
		h.showLogin(w, http.StatusTooManyRequests, to, "Too many wrong tokens: try again in a minute.")
		return
	}
	if a.token != "" && !equal(strings.TrimSpace(r.PostFormValue("token")), a.token) {
		a.fails.add(a.now())
		h.config.Log.Warn("wrong token in the admin page's form", "peer", r.RemoteAddr)
		h.showLogin(w, http.StatusUnauthorized, to, "That is not the token.")
		return
	}
	a.setCookie(w, r, a.cookie, 30*24*time.Hour)
	http.Redirect(w, r, to, http.StatusSeeOther)
}

func (a *access) logout(w http.ResponseWriter, r *http.Request) {
	a.setCookie(w, r, "", -time.Second)
	http.Redirect(w, r, "/login", http.StatusSeeOther)
}

func (a *access) setCookie(w http.ResponseWriter, r *http.Request, value string, age time.Duration) {
	http.SetCookie(w, &http.Cookie{Name: cookieName, Value: value, Path: "/", MaxAge: int(age.Seconds()), HttpOnly: true,
		SameSite: http.SameSiteStrictMode, Secure: r.TLS != nil})
}

// localPath keeps a redirect on this server.
func localPath(to string) string {
	u, err := url.Parse(to)
	if err != nil || u.Host != "" || u.Scheme != "" || !strings.HasPrefix(to, "/") || strings.HasPrefix(to, "//") || strings.ContainsAny(to, "\\\r\n") ||
		strings.HasPrefix(to, "/log") {
		return "/"
	}
	return u.RequestURI()
}

// failures slows down who guesses tokens.
type failures struct {
	mu    sync.Mutex
	since time.Time
	count int
}

func (f *failures) add(now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if now.Sub(f.since) > time.Minute || now.Before(f.since) {
		f.since, f.count = now, 0
	}
	f.count++
}

func (f *failures) many(now time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.count >= 20 && now.Sub(f.since) <= time.Minute && !now.Before(f.since)
}

// printable is a name of the network in a message.
func printable(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s)
	return s[:min(len(s), 100)]
}
