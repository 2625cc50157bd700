# Short names; what they do is in packaging/ and tests/.
PYTHON = /usr/bin/python3
PREFIX = /usr/local
VENV =
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
	sh packaging/bench

# make box CMD="systemctl status"
box:
	sh packaging/check --prepare
	$(PYTHON) -m tests.box $(if $(CMD),run,shell) --deb dist/rktsd_*_all.deb $(if $(CMD),-- $(CMD))

lint:
	sh packaging/lint

man: $(PAGES)

build/man/%: man/%.rst
	@mkdir -p $(@D)
	rst2man --halt=warning $< $@

# For an installation by pip into the virtual environment VENV; the package brings them along.
install-units:
	@test -x "$(VENV)/bin/rkt" || { echo "usage: make install-units VENV=DIR with DIR/bin/rkt"; exit 1; }
	install -d $(DESTDIR)$(UNITS) $(DESTDIR)/usr/lib/rkt
	install -m 644 $(wildcard $(foreach kind,path service slice socket target timer,units/*.$(kind))) \
		$(DESTDIR)$(UNITS)
	cp -R units/*.wants $(DESTDIR)$(UNITS)
	install $(wildcard units/libexec/*) $(DESTDIR)/usr/lib/rkt
	install -D -m 644 units/rkt.tmpfiles $(DESTDIR)$(PREFIX)/lib/tmpfiles.d/rkt.conf
	install -D -m 644 units/rkt.sysusers $(DESTDIR)$(PREFIX)/lib/sysusers.d/rkt.conf
	install -D -m 644 units/bus/org.rktsd.service -t $(DESTDIR)/usr/share/dbus-1/system-services
	install -D -m 644 units/bus/org.rktsd.conf -t $(DESTDIR)/usr/share/dbus-1/system.d
	install -D -m 644 units/polkit/org.rktsd.policy -t $(DESTDIR)/usr/share/polkit-1/actions
	install -D -m 644 units/polkit/org.rktsd.rules -t $(DESTDIR)/usr/share/polkit-1/rules.d
	cd $(DESTDIR)$(UNITS) && sed -i 's|/usr/bin/rkt|$(VENV)/bin/rkt|' $(notdir $(wildcard units/*.service))
	cd $(DESTDIR)/usr/lib/rkt && sed -i -e '1s|^#!/usr/bin/python3 -IS|#!$(VENV)/bin/python3 -I|' \
		-e '\|^sys.path.append("/usr/lib/python3|d' $(notdir $(wildcard units/libexec/*))
	test -n "$(DESTDIR)" || { systemd-sysusers rkt.conf && systemd-tmpfiles --create rkt.conf && systemctl daemon-reload; }

clean:
	rm -rf build dist tests/.cache .lint .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -prune -exec rm -rf {} +
