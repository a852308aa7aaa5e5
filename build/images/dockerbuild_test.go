package images

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

func folder(t *testing.T, root, name string, files map[string]string) string {
	t.Helper()
	dir := filepath.Join(root, name)
	for _, file := range sortedKeys(files) {
		path := filepath.Join(dir, file)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if target, ok := strings.CutPrefix(files[file], "-> "); ok {
			if err := os.Symlink(target, path); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err := os.WriteFile(path, []byte(files[file]), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

var amd64 = v1.Platform{OS: "linux", Architecture: "amd64"}

func oneFolder(t *testing.T, root, base string) Folder {
	t.Helper()
	fs, err := ReadFolders(t.Context(), root, base, amd64)
	if err != nil || len(fs) != 1 {
		t.Fatalf("%v, %v", fs, err)
	}
	return fs[0]
}

func TestFolderIsBuiltOnce(t *testing.T) {
	for _, kit := range []string{"1", "0"} {
		t.Run("DOCKER_BUILDKIT="+kit, func(t *testing.T) {
			importBase(t, "hooktest/base:build"+kit, []byte("base"))
			root := t.TempDir()
			dir := folder(t, root, "hook-app"+kit, map[string]string{
				"Dockerfile": "FROM --platform=linux/${TARGETARCH} hooktest/base:build" + kit + "\nCOPY . /data/\nLABEL for=test\n", "a.sh": "#!/bin/sh\n", "link": "-> a.sh",
				".dockerignore": "*.log\n", "noise.log": "1", "unique": t.TempDir(), // for a daemon that is used again
			})
			if err := os.Chmod(filepath.Join(dir, "a.sh"), 0o751); err != nil {
				t.Fatal(err)
			}
			cache := t.TempDir()
			var began []string
			with := func(s *Sources) {
				s.Dir, s.UseDocker, s.Folders = cache, false, []Folder{oneFolder(t, root, "quay.invalid/hook/")}
				s.Folders[0].local = true // nobody to ask
				socket := s.Docker.Getenv("DOCKER_HOST")
				s.Docker.Getenv = environment(map[string]string{"DOCKER_HOST": socket, "DOCKER_BUILDKIT": kit, "DOCKER_CONFIG": t.TempDir()})
			}
			s := dockerSources(t, with, counting(&began))
			img := mustImage(t, s, s.Folders[0].Ref)
			if label(t, img) != "test" {
				t.Error("the image is not that of the Dockerfile")
			}
			all := contents(t, img)
			if top := string(all[len(all)-1]); !strings.Contains(top, "data/a.sh") || strings.Contains(top, "noise.log") {
				t.Error("the context is not what .dockerignore leaves")
			}
			building := "building hook-app" + kit
			if !slices.Contains(began, building) {
				t.Errorf("nothing was built: %v", began)
			}
			if p := s.Resolved(); p[0].Source != "folder" {
				t.Errorf("pins %v", p)
			}

			began = nil
			mustImage(t, dockerSources(t, with, counting(&began)), s.Folders[0].Ref) // from the cache
			mustImage(t, dockerSources(t, with, counting(&began), func(n *Sources) { n.Dir = t.TempDir() }), s.Folders[0].Ref)
			if slices.Contains(began, building) {
				t.Error("built again although the daemon has it")
			}
			// Without a daemon, from the cache.
			down := sources(t, func(n *Sources) { n.Dir, n.Folders, n.Offline = cache, s.Folders, true })
			contents(t, mustImage(t, down, s.Folders[0].Ref))
		})
	}
}

func TestPullBuildsAgain(t *testing.T) {
	root := t.TempDir()
	folder(t, root, "app", map[string]string{"Dockerfile": "FROM scratch\nCOPY x /\n", "x": "pull"})
	for _, pull := range []bool{false, false, true} {
		var began []string
		s := dockerSources(t, counting(&began), func(s *Sources) { s.Folders, s.Pull = []Folder{oneFolder(t, root, "")}, pull })
		mustImage(t, s, s.Folders[0].Ref)
		if built := slices.Contains(began, "building app"); pull && !built {
			t.Error("--pull did not build again")
		}
	}
}

func TestBuildErrors(t *testing.T) {
	importBase(t, "hooktest/base:err", []byte("base"))
	for _, tt := range []struct {
		name, dockerfile string
		offline          bool
		wantErr          []string
	}{
		{"no such file", "FROM hooktest/base:err\nCOPY missing /\n", false, []string{"docker build of ", "missing"}},
		{"no such base", "FROM 127.0.0.1:1/none:1\n", false, []string{"docker build of ", "127.0.0.1:1/none:1"}},
		{"syntax", "FROM hooktest/base:err\nNONSENSE x\n", false, []string{"docker build of ", "NONSENSE"}},
		{"offline", "FROM hooktest/base:err\n", true, []string{"would have to be built", "--offline"}},
	} {
		for _, kit := range []string{"1", "0"} {
			t.Run(tt.name+kit, func(t *testing.T) {
				root := t.TempDir()
				folder(t, root, "bad", map[string]string{"Dockerfile": tt.dockerfile, "x": tt.name + kit})
				s := dockerSources(t, func(s *Sources) {
					s.Folders, s.Offline = []Folder{oneFolder(t, root, "")}, tt.offline
					socket := s.Docker.Getenv("DOCKER_HOST")
					s.Docker.Getenv = environment(map[string]string{"DOCKER_HOST": socket, "DOCKER_BUILDKIT": kit})
				})
				_, err := s.Image(t.Context(), s.Folders[0].Ref)
				wantError(t, err, append(tt.wantErr, "folder "+filepath.Join(root, "bad"))...)
			})
		}
	}
}

func TestBuildPullsAPrivateBase(t *testing.T) {
	needDocker(t)
	for _, kit := range []string{"1", "0"} {
		for _, auth := range []string{"basic", "token"} {
			t.Run(auth+kit, func(t *testing.T) {
				tr := newRegistry(t)
				tr.auth, tr.user = auth, "ann"
				tr.add(t, "private/base:1", imageOf(t, "amd64", gzLayer(t, uint64(len(auth+kit)), 100)))
				config := t.TempDir()
				secret := base64.StdEncoding.EncodeToString([]byte("ann:secret"))
				if err := os.WriteFile(filepath.Join(config, "config.json"), fmt.Appendf(nil, `{"auths":{%q:{"auth":%q}}}`, tr.host, secret), 0o600); err != nil {
					t.Fatal(err)
				}
				root := t.TempDir()
				folder(t, root, "app", map[string]string{"Dockerfile": "FROM " + tr.ref("private/base:1") + "\nCOPY x /\n", "x": auth + kit})
				s := dockerSources(t, func(s *Sources) {
					s.Folders = []Folder{oneFolder(t, root, "")}
					socket := s.Docker.Getenv("DOCKER_HOST")
					s.Docker.Getenv = environment(map[string]string{"DOCKER_HOST": socket, "DOCKER_BUILDKIT": kit, "DOCKER_CONFIG": config})
				})
				if got := contents(t, mustImage(t, s, s.Folders[0].Ref)); len(got) != 2 {
					t.Errorf("%d layers", len(got))
				}
			})
		}
	}
}

func TestCancelledBuild(t *testing.T) {
	root := t.TempDir()
	folder(t, root, "app", map[string]string{"Dockerfile": "FROM scratch\nCOPY . /\n"})
	s := dockerSources(t, func(s *Sources) { s.Folders = []Folder{oneFolder(t, root, "")} })
	ctx, cancel := context.WithCancel(t.Context())
	s.Progress = func(name string, _ int64) (func(int64), func(error)) {
		if strings.HasPrefix(name, "building") {
			cancel()
		}
		return func(int64) {}, func(error) {}
	}
	if _, err := s.Image(ctx, s.Folders[0].Ref); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

// writeContext makes a context as `docker context create` does.
