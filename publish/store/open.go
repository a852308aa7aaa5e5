package store

import (
	"bufio"
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
)

// Access is how a store finds the user's credentials, besides those that the
// object stores' libraries find themselves.
type Access struct {
	Home      string                          // the user's home folder: .netrc, .ssh
	LookupEnv func(key string) (string, bool) // NETRC, SSH_AUTH_SOCK, USER; nil: nothing is set
	Existing  bool                            // a folder that is not there is not made: fs.ErrNotExist, from Open or from what is read
}

func (a Access) env(key string) string {
	if a.LookupEnv == nil {
		return ""
	}
	v, _ := a.LookupEnv(key)
	return v
}

// Schemes are the kinds of destinations that Open knows, besides plain folders.
func Schemes() []string {
	return []string{"file", "s3", "gs", "azblob", "http", "https", "sftp"}
}

// Open makes a store of a destination: a folder, or a URL of one of Schemes.
func Open(ctx context.Context, dest string, a Access) (Store, error) {
	u, isURL, err := Parse(dest)
	if err != nil {
		return nil, err
	}
	if !isURL {
		return openFolder(dest, a)
	}
	var s Store
	switch u.Scheme {
	case "file":
		return openFolder(filepath.FromSlash(u.Path), a)
	case "s3":
		s, err = openS3(ctx, u)
	case "gs":
		s, err = openGS(ctx, u, a)
	case "azblob":
		s, err = openAzure(u, a)
	case "http", "https":
		return openHTTP(u, a), nil
	case "sftp":
		s, err = openSFTP(ctx, u, a)
	default:
		return nil, fmt.Errorf("%s://: no such kind of destination; there are a folder, oci:// and %s://", u.Scheme, strings.Join(Schemes(), "://, "))
	}
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", u.Redacted(), err)
	}
	return s, nil
}

func openFolder(dir string, a Access) (Store, error) {
	if a.Existing {
		if info, err := os.Stat(dir); err != nil {
			return nil, err
		} else if !info.IsDir() {
			return nil, fmt.Errorf("%s is no folder", dir)
		}
	}
	return NewFolder(dir)
}

// Parse tells a URL from a folder's path. Errors do not have the password.
func Parse(dest string) (u *url.URL, isURL bool, err error) {
	if dest == "" {
		return nil, false, fmt.Errorf("no destination: name a folder or a URL")
	}
	scheme, _, ok := strings.Cut(dest, "://")
	if !ok || strings.ContainsAny(scheme, `/\.`) {
		return nil, false, nil
	}
	u, err = url.Parse(dest)
	if err != nil {
		return nil, false, fmt.Errorf("%s://...: not a URL (characters such as %% and # in a password are written %%25 and %%23)", scheme)
	}
	if u.Scheme == "file" && (u.Host != "" && u.Host != "localhost" || u.Path == "") || u.Scheme != "file" && u.Host == "" {
		return nil, false, fmt.Errorf("%s: write file:///FOLDER, or SCHEME://HOST/PATH", u.Redacted())
	}
	return u, true, nil
}

// netrc finds the account for a host as curl does.
func (a Access) netrc(host string) (user, pass string) {
	path := a.env("NETRC")
	if path == "" {
		if a.Home == "" {
			return "", ""
		}
		path = filepath.Join(a.Home, ".netrc")
	}
	f, err := os.Open(path)
	if err != nil {
		return "", ""
	}
	defer f.Close()
	return parseNetrc(bufio.NewScanner(f), host)
}

// parseNetrc reads machine, default, login and password; others are passed over.
func parseNetrc(words *bufio.Scanner, host string) (user, pass string) {
	words.Split(bufio.ScanWords)
	mine := false
	for words.Scan() {
		switch words.Text() {
		case "machine":
			if user != "" {
				return user, pass
			}
			mine = words.Scan() && words.Text() == host
		case "default":
			if user != "" {
				return user, pass
			}
			mine = true
		case "login":
			if words.Scan() && mine {
				user = words.Text()
			}
		case "password":
			if words.Scan() && mine {
				pass = words.Text()
			}
		}
	}
	return user, pass
}
