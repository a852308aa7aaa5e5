package publish

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"hooksmith/publish/sign"
	"hooksmith/publish/store"
	"hooksmith/publish/verify"
)

// Where is the URL to write as hookImagesURLPath for a destination: public, if
// it is not "", else what the destination itself says; "" if that is unknown.
func Where(dest, public string) string {
	if public != "" {
		return strings.TrimRight(public, "/")
	}
	u, isURL, err := store.Parse(dest)
	if err != nil || !isURL {
		return ""
	}
	path := strings.TrimRight(u.EscapedPath(), "/")
	switch u.Scheme {
	case "http", "https":
		return u.Scheme + "://" + u.Host + path
	case "gs":
		return "https://storage.googleapis.com/" + u.Host + path
	case "s3":
		if endpoint := u.Query().Get("endpoint"); endpoint != "" {
			return strings.TrimRight(endpoint, "/") + "/" + u.Host + path
		}
		if region := u.Query().Get("region"); region != "" {
			return "https://" + u.Host + ".s3." + region + ".amazonaws.com" + path
		}
	}
	return ""
}

// Checkable is where a check sees what machines would, as far as the
// destination itself says; "" for stores that may want credentials.
func Checkable(dest string) string {
	u, isURL, err := store.Parse(dest)
	switch {
	case err != nil:
		return ""
	case !isURL:
		return dest
	case u.Scheme == "file":
		return filepath.FromSlash(u.Path)
	case (u.Scheme == "http" || u.Scheme == "https") && u.User == nil:
		return Where(dest, "")
	}
	return ""
}

// ServeHint says how hooksmith serve gets at what was published.
func ServeHint(dest string) string {
	if dir := Checkable(dest); dir != "" && !strings.Contains(dir, "://") {
		return "serve it: hooksmith serve --artifacts " + shellWord(dir)
	}
	if u, isURL, err := store.Parse(dest); err == nil && isURL {
		u.User = nil
		dest = u.String()
	}
	return fmt.Sprintf("serve it: hooksmith fetch %s out/mirror && hooksmith serve --artifacts out/mirror", shellWord(dest))
}

// shellWord is a word as a shell takes it.
func shellWord(s string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/._-+:,@%=", r)
	}
	if strings.ContainsFunc(s, func(r rune) bool { return !plain(r) }) {
		return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
	}
	return s
}

// SignFolder signs the artifacts in a folder, after reading all of them.
func SignFolder(ctx context.Context, dir string, key *sign.PrivateKey, now time.Time) error {
	report, err := verify.Set(ctx, verify.FS(os.DirFS(dir)), verify.Options{})
	if err != nil {
		return fmt.Errorf("%s: %w", dir, err)
	}
	if err := report.Err(); err != nil {
		return fmt.Errorf("%s is not signed: %w", dir, err)
	}
	s, err := readSet(dir, key, now)
	if err != nil {
		return err
	}
	tmp := filepath.Join(dir, "."+sign.Name+".part")
	if err := os.WriteFile(tmp, s.small[sign.Name], 0o644); err != nil {
		return err
	}
	return os.Rename(tmp, filepath.Join(dir, sign.Name))
}
