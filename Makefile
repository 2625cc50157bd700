# Short names; what they do is in packaging/ and tests/.
PYTHON = /usr/bin/python3
PREFIX = /usr/local
UNITS = $(PREFIX)/lib/systemd/system
PAGES = $(patsubst man/%.rst,build/man/%,$(wildcard man/*.rst))

.PHONY: deb check demo bench box lint man install-units clean

deb:
	sh packaging/deb --lint

check:
	sh packaging/check

demo:
	sh packaging/demo

bench:
	sh packaging/check --prepare
	$(PYTHON) -m tests.bench

# make box CMD="systemctl status"
box:
	sh packaging/check --prepare
	$(PYTHON) -m tests.box $(if $(CMD),run --deb dist/rktsd_*_all.deb -- $(CMD),shell --deb dist/rktsd_*_all.deb)

lint:
	sh packaging/lint

man: $(PAGES)

build/man/%: man/%.rst
	@mkdir -p $(@D)
	rst2man --halt=warning $< $@

clean:
	rm -rf build dist .lint .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -prune -exec rm -rf {} +

# For an installation by pip; the package brings them along.
install-units:
	install -d $(DESTDIR)$(UNITS) $(DESTDIR)/usr/lib/rkt
	install -m 644 $(wildcard $(foreach kind,service slice socket target timer,units/*.$(kind))) $(DESTDIR)$(UNITS)
	install -D -m 644 units/rkt.tmpfiles $(DESTDIR)$(PREFIX)/lib/tmpfiles.d/rkt.conf
	install -D -m 644 units/rkt.sysusers $(DESTDIR)$(PREFIX)/lib/sysusers.d/rkt.conf
	install $(wildcard units/libexec/*) $(DESTDIR)/usr/lib/rkt
