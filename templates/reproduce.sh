#!/bin/sh
# {{ id }}: {{ expected }}
#   {{ cause }}
#
{%- if state.is_some() %}
# Has a build load a guest of the machine {{ machine }} that was saved.
{%- else %}
# Moves a guest of the machine {{ machine }} with nothing but the builds and a shell: each build saves its guest into a
# file, from which the next one loads it. The machine {% if works %}runs meanwhile{% else %}never runs: it is sent as it is after reset{% endif %}.
{%- endif %}
{%- for part in without %}
# Not done here, so that the outcome may be another: {{ part }}.
{%- endfor %}
# Exit status: 0 if the outcome is the expected one, else 1; 2 if a build does not start{% if needs_swtpm() %}, or without swtpm{% endif %}{% if needs_stand_in() %}, or without migcompat{% endif %}.

seconds=${SECONDS_TO_WAIT:-120}     # the time that each build has
{%- if lost.is_some() %}
migcompat=${MIGCOMPAT:-migcompat}   # it compares what was sent with what was loaded
{%- endif %}
{%- if needs_stand_in() %}
command -v "${MIGCOMPAT:-migcompat}" > /dev/null || {
    echo "the guest has a vhost-user device: set MIGCOMPAT to the program migcompat, which stands in for its backend" >&2
    exit 2
}
{%- endif %}
{%- if needs_swtpm() %}
command -v swtpm > /dev/null || { echo "the guest has a TPM: swtpm, which emulates it, is not installed" >&2; exit 2; }
{%- endif %}
work=$(mktemp -d) || exit
trap 'rm -rf "$work"' EXIT
{%- for stage in stages %}

# {{ stage.build }}: {% if state.is_some() %}loads the saved guest{% else if stage.from.is_none() %}the source, where the guest begins{% else %}loads what was saved before{% endif %}
build{{ stage.at }}() {
{%- for program in stage.beside %}
    # {% if program.program == Program::Swtpm %}The TPM of its guest{% else %}The backend of a device{% endif %}.
    {{ program.start }} || return
{%- endfor %}
    timeout "$seconds" env {{ stage.program }} \
{%- for option in stage.options %}
        {{ option }} \
{%- endfor %}
        -monitor stdio "$@"
}
{%- endfor %}
{%- if works %}

# Waits until a build has written a file. An empty line means nothing to its monitor, and cannot be written once it is gone.
until_written() {
    until [ -s "$1" ]; do echo || exit; sleep 0.1; done
}
{%- endif %}

# Waits until a build has loaded its guest, by its own word.
until_loaded() {
    until grep 'VM status: ' "$work/monitor$1" 2>/dev/null | grep -q -v inmigrate; do
        echo 'info status' || exit
        sleep 0.2
    done
}

# Claims nothing of a build that did not come as far as its monitor.
started() {
    grep -q 'monitor - type' "$work/monitor$1" || { echo "a build does not start: nothing was shown" >&2; exit 2; }
}

# Saves the guest of a build into a file. The monitor takes no further command until that is done.
save() {
    echo "migrate \"exec:cat > $work/$1\""
}
{%- if renames %}

# Changes the machine type's name at the head of a saved guest: QEMU takes none of another name.
rename() {
    length=$(od -An -tu1 -j12 -N1 "$1" | tr -d ' ')
    {
        head -c 12 "$1"
        printf "\\$(printf %03o $(printf %s "$2" | wc -c))"
        printf %s "$2"
        tail -c +$((14 + length)) "$1"
    } > "$1.renamed" && mv "$1.renamed" "$1"
}
{%- endif %}
{%- for stage in stages %}

# What is typed at the monitor of {{ stage.build }}.
type{{ stage.at }}() {
{%- if stage.from.is_some() || state.is_some() %}
    until_loaded {{ stage.at }}
{%- endif %}
{%- if works && !stage.stopped %}
    until_written "$work/console{{ stage.at }}"      # the guest's first word shows that it works
{%- endif %}
{%- if stage.sends %}
    save stream{{ stage.at }}
{%- else if lost.is_some() %}
    save loaded
{%- endif %}
    echo quit
}
{%- endfor %}
{%- if let Some((file, start)) = state %}

tail -c +{{ start }} {{ file }} > "$work/stream"
type0 | build0 -S -incoming "exec:cat $work/stream" > "$work/monitor0"
status=$?
started 0
{%- else %}

# The builds, one after the other.
{%- for stage in stages %}
{%- if let Some(from) = stage.from %}
if [ "$status" = 0 ]; then
{%- if let Some(name) = stage.renamed %}
    rename "$work/stream{{ from }}" {{ name }}
{%- endif %}
    type{{ stage.at }} | build{{ stage.at }}{% if stage.stopped %} -S{% endif %} -incoming "exec:cat $work/stream{{ from }}" > "$work/monitor{{ stage.at }}"
    status=$?
    started {{ stage.at }}
fi
{%- else %}
type{{ stage.at }} | build{{ stage.at }}{% if stage.stopped %} -S{% endif %} > "$work/monitor{{ stage.at }}"
status=$?
started {{ stage.at }}
{%- endif %}
{%- endfor %}
{%- endif %}

case $status in
    0) came={{ Outcome::Pass }} ;;
    124) came={{ Outcome::Hang }} ;;
    129 | 1[3-9]?) came={{ Outcome::Crash }} ;;
    *) came={{ ended }} ;;
esac
{%- if let Some(lost) = lost %}
if [ "$came" = {{ Outcome::Pass }} ]; then
    # OLD is what was sent, NEW what the build that loaded it has.
    "$migcompat" stream diff "$work/stream{% if state.is_none() %}{{ stages.len() - 2 }}{% endif %}" "$work/loaded" \
        {{ lost.sections }} \
        > "$work/diff"
    [ $? -le 1 ] || echo "the loss is not shown: set MIGCOMPAT to the program migcompat" >&2
    cat "$work/diff"
    if grep -q -F \
        {{ lost.fields }} \
        "$work/diff"
    then came={{ Outcome::Lost }}; fi
fi
{%- else if expected == Outcome::Lost %}
# What was lost is not device state (memory, or the guest's work), and is not compared here.
{%- endif %}
[ "$came" = {{ expected }} ] && same=0 || same=1
echo "expected: {{ expected }}; came: $came (exit status $status of the last build)"
exit $same
