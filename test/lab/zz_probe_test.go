package lab_test

import (
	"os"
	"testing"

	"imgbase/test/lab"
)

func TestZZProbe(t *testing.T) {
	vm := lab.Golden(t)
	script := func(n string) string { b, err := os.ReadFile("/tmp/probe/" + n); if err != nil { t.Fatal(err) }; return string(b) }
	for _, n := range []string{"1.sh", "2.sh"} {
		r := vm.Run(t, script(n))
		t.Logf("%s: %d\n%s\n%s", n, r.Code, r.Stdout, r.Stderr)
	}
	t.Log(vm.Reboot(t))
	r := vm.Run(t, script("3.sh"))
	t.Logf("%d\n%s\n%s", r.Code, r.Stdout, r.Stderr)
}
