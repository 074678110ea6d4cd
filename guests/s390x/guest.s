# The workload guest for s390x: a raw image that is loaded at 0 and begins with its IPL PSW.
#
# The console is the SCLP one: a line is put together in a buffer and leaves in one service call, which
# is complete when the instruction is. The service signal it makes pending stays pending: no interrupt
# is ever enabled.

.include "abi.inc"

.set HEADER,    0x200000
.set SCCB,      0x10000            # not in the first 8 KiB, where SCLP refuses it
.set TEXT,      SCCB + 14          # after the SCCB's header (8) and the event's (6)
.set WRITE_EVENT_DATA, 0x00760005
.set WRITE_EVENT_MASK, 0x00780005
.set ASCII,     0x1a               # the event type of the ASCII console

.text
lowcore:
        .long 0x00080000, 0x80000000 + start - lowcore

        # A program check stops here for good, as a disabled wait: QEMU says that the guest panicked.
        .org lowcore + 0x1d0
        .quad 0x0002000180000000, 0xbad

        .org lowcore + 0x200
start:  sam64
        larl %r12, mask
        llilf %r1, SCCB
        mvc 0(28, %r1), 0(%r12)
        llilf %r0, WRITE_EVENT_MASK
        brasl %r14, service
        llilf %r12, TEXT

        llilf %r6, HEADER
        larl %r11, magics
        lg %r11, 0(%r11)           # "MIGPAGE1"

        # Every page holds pass 0 before the header's magic says that there is a region.
        lghi %r0, 0
        lgr %r1, %r6
        llilf %r2, PAGE_SIZE * (PAGES + 1) / 8
1:      stg %r0, 0(%r1)
        aghi %r1, 8
        brctg %r2, 1b
        lghi %r2, 0
        lghi %r7, 0
        lgr %r8, %r6
1:      aghi %r8, PAGE_SIZE
        brasl %r14, write
        aghi %r7, 1
        cghi %r7, PAGES
        jne 1b

        lhi %r0, ABI_VERSION
        st %r0, H_ABI(%r6)
        lhi %r0, PAGE_SIZE
        st %r0, H_PAGE_SIZE(%r6)
        lgr %r0, %r6
        aghi %r0, REGION_OFFSET
        stg %r0, H_REGION(%r6)
        lghi %r0, PAGES
        stg %r0, H_PAGES(%r6)
        lghi %r0, 1 << BEAT_SHIFT
        stg %r0, H_PER_BEAT(%r6)
        larl %r1, magics
        lg %r0, 16(%r1)
        stg %r0, H_ARCH(%r6)
        lg %r0, 8(%r1)
        stg %r0, H_MAGIC(%r6)

        larl %r2, hello
        brasl %r14, puts
        brasl %r14, endline
        lghi %r10, 0               # progress as the CPU remembers it
        lghi %r9, 0

# %r9: completed passes, which is also what every page still to be written holds;
# %r7: the page; %r8: its address
pass:   lghi %r7, 0
        lgr %r8, %r6
        aghi %r8, REGION_OFFSET

page:   lghi %r4, E_MAGIC
        lgr %r2, %r11
        lg %r3, P_MAGIC(%r8)
        brasl %r14, check
        lghi %r4, E_INDEX
        lgr %r2, %r7
        lg %r3, P_INDEX(%r8)
        brasl %r14, check
        lghi %r4, E_HEAD
        lgr %r2, %r9
        lg %r3, P_HEAD(%r8)
        brasl %r14, check
        lghi %r4, E_MIDDLE
        sllg %r2, %r7, 32
        xgr %r2, %r9
        lghi %r0, -1
        xgr %r2, %r0
        lg %r3, P_MIDDLE(%r8)
        brasl %r14, check
        lghi %r4, E_TAIL
        lgr %r2, %r9
        lg %r3, P_TAIL(%r8)
        brasl %r14, check

        lgr %r2, %r9
        aghi %r2, 1
        brasl %r14, write

        lghi %r4, E_PROGRESS
        lgr %r2, %r10
        lg %r3, H_PROGRESS(%r6)
        brasl %r14, check
        aghi %r10, 1
        stg %r10, H_PROGRESS(%r6)

        aghi %r8, PAGE_SIZE
        aghi %r7, 1
        cghi %r7, PAGES
        jne page

        aghi %r9, 1
        tmll %r9, (1 << BEAT_SHIFT) - 1
        jnz pass
        srlg %r13, %r9, BEAT_SHIFT
        stg %r13, H_BEATS(%r6)
        larl %r2, beat
        brasl %r14, puts
        lgr %r2, %r13
        lghi %r3, 32
        brasl %r14, hex
        brasl %r14, endline
        j pass

# Writes page %r7 at %r8 for pass %r2. Uses %r0, %r1.
write:  stg %r11, P_MAGIC(%r8)
        stg %r7, P_INDEX(%r8)
        stg %r2, P_HEAD(%r8)
        sllg %r0, %r7, 32
        xgr %r0, %r2
        lghi %r1, -1
        xgr %r0, %r1
        stg %r0, P_MIDDLE(%r8)
        stg %r2, P_TAIL(%r8)
        br %r14

# Compares %r2, wanted, with %r3, got; %r4 is the kind of the check. Uses %r0 to %r5, %r13 and %r15.
check:  cgr %r2, %r3
        jne 1f
        br %r14
1:      lgr %r15, %r14
        lgr %r5, %r3
        lgr %r13, %r2
        lg %r0, H_ERRORS(%r6)
        aghi %r0, 1
        stg %r0, H_ERRORS(%r6)
        lg %r1, H_ERR_KIND(%r6)
        ltgr %r1, %r1
        jnz 2f
        stg %r4, H_ERR_KIND(%r6)
        stg %r7, H_ERR_PAGE(%r6)
        stg %r2, H_ERR_WANT(%r6)
        stg %r3, H_ERR_GOT(%r6)
2:      cghi %r0, MAX_REPORTS
        jh 3f
        larl %r2, text_error
        brasl %r14, puts
        lgr %r2, %r4
        lghi %r3, 32
        brasl %r14, hex
        larl %r2, text_page
        brasl %r14, puts
        lgr %r2, %r7
        lghi %r3, 32
        brasl %r14, hex
        larl %r2, text_want
        brasl %r14, puts
        lgr %r2, %r13
        lghi %r3, 64
        brasl %r14, hex
        larl %r2, text_got
        brasl %r14, puts
        lgr %r2, %r5
        lghi %r3, 64
        brasl %r14, hex
        lgr %r14, %r15
        j endline
3:      br %r15

# Appends the text at %r2, up to its zero byte. Uses %r0, %r2.
puts:   llgc %r0, 0(%r2)
        ltgr %r0, %r0
        jz 1f
        stc %r0, 0(%r12)
        aghi %r12, 1
        aghi %r2, 1
        j puts
1:      br %r14

# Appends the low %r3 bits of %r2 in hexadecimal. Uses %r0, %r1, %r3.
hex:    lghi %r1, 15
1:      aghi %r3, -4
        srlg %r0, %r2, 0(%r3)
        ngr %r0, %r1
        aghi %r0, '0'
        cghi %r0, '9'
        jnh 2f
        aghi %r0, 'a' - '9' - 1
2:      stc %r0, 0(%r12)
        aghi %r12, 1
        ltgr %r3, %r3
        jnz 1b
        br %r14

# Ends the line in the buffer and sends it. Uses %r0, %r1, %r12.
endline:
        mvi 0(%r12), '\n'
        llilf %r1, SCCB
        lgr %r0, %r12
        sgr %r0, %r1
        aghi %r0, 1
        llilf %r12, TEXT
        xc 0(14, %r1), 0(%r1)
        sth %r0, 0(%r1)
        aghi %r0, -8
        sth %r0, 8(%r1)
        mvi 10(%r1), ASCII
        llilf %r0, WRITE_EVENT_DATA

# The SCLP command in %r0 with the SCCB at %r1, again while SCLP is busy.
service:
        .insn rre, 0xb2200000, %r0, %r1
        jo service
        brc 2, service
        br %r14

.balign 8
magics:         .ascii "MIGPAGE1MIGCOMP1"
name:           .ascii "s390x\0\0\0"

# Write event mask: receive nothing, send ASCII console data (the bit of event type 0x1a)
mask:           .short 28, 0, 0, 0
                .short 0, 4
                .long 0, 0x80000000 >> (ASCII - 1), 0, 0

# LARL reaches even addresses only, and the assembler does not object to an odd one.
hello:          .asciz "S migcompat s390x 1"
        .balign 2
beat:           .asciz "B "
        .balign 2
text_error:     .asciz "E kind="
        .balign 2
text_page:      .asciz " page="
        .balign 2
text_want:      .asciz " want="
        .balign 2
text_got:       .asciz " got="
.balign 8
