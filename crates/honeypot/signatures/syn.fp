; What the first TCP packet of known systems and programs looks like, written
; from their defaults. The form is that of p0f 3:
;   label = type:class:name:flavour    type s, or g as the last resort;
;                                      class ! for programs that make packets themselves
;   sig   = version:ttl:IP options:mss:window,scale:options:quirks:payload
; The first that fits counts, so the narrow ones stand before the wide ones.

[mtu]

label = Ethernet
sig   = 1500

label = PPPoE (DSL)
sig   = 1492

label = Tunnel in IPv4 (IPIP, SIT)
sig   = 1480

label = Tunnel (GRE)
sig   = 1476

label = Google Cloud
sig   = 1460

label = Overlay network (VXLAN)
sig   = 1450

label = VPN (WireGuard)
sig   = 1420

label = IPv6 minimum (tunnel)
sig   = 1280

label = Jumbo frames
sig   = 9000
sig   = 9001
sig   = 8500

label = Loopback
sig   = 65535
sig   = 65536

label = Minimum of IPv4 (modem)
sig   = 576

[tcp:request]

; --- Linux. The window is what fits into the first buffer, in whole segments:
; 44 of 1460 bytes on Ethernet, more where segments are smaller.

label = s:unix:Linux:4.20 and newer
sig   = *:64:0:*:mss*44,*:mss,sok,ts,nop,ws:df,id+:0
sig   = *:64:0:*:mss*45,*:mss,sok,ts,nop,ws:df,id+:0
sig   = *:64:0:*:mss*46,*:mss,sok,ts,nop,ws:df,id+:0
sig   = *:64:0:*:mss*47,*:mss,sok,ts,nop,ws:df,id+:0
sig   = *:64:0:*:mss*48,*:mss,sok,ts,nop,ws:df,id+:0
sig   = *:64:0:*:mss*49,*:mss,sok,ts,nop,ws:df,id+:0
sig   = *:64:0:*:mss*50,*:mss,sok,ts,nop,ws:df,id+:0
sig   = *:64:0:*:mss*7,*:mss,sok,ts,nop,ws:df,id+:0
sig   = 6:64:0:*:mss*44,*:mss,sok,ts,nop,ws:flow:0
sig   = 6:64:0:*:mss*45,*:mss,sok,ts,nop,ws:flow:0
sig   = 6:64:0:*:mss*46,*:mss,sok,ts,nop,ws:flow:0
sig   = 6:64:0:*:mss*47,*:mss,sok,ts,nop,ws:flow:0
sig   = 6:64:0:*:mss*48,*:mss,sok,ts,nop,ws:flow:0
sig   = 6:64:0:*:mss*49,*:mss,sok,ts,nop,ws:flow:0
sig   = 6:64:0:*:mss*50,*:mss,sok,ts,nop,ws:flow:0
sig   = 6:64:0:*:mss*7,*:mss,sok,ts,nop,ws:flow:0
; On loopback one segment is all.
sig   = 4:64:0:65495:mss*1,*:mss,sok,ts,nop,ws:df,id+:0
sig   = 6:64:0:65476:mss*1,*:mss,sok,ts,nop,ws:flow:0
; Timestamps switched off.
sig   = 4:64:0:*:mss*44,*:mss,nop,nop,sok,nop,ws:df,id+:0
sig   = 6:64:0:*:mss*45,*:mss,nop,nop,sok,nop,ws:flow:0
sig   = 4:64:0:65495:mss*1,*:mss,nop,nop,sok,nop,ws:df,id+:0

label = s:unix:Linux:3.11 to 4.19
sig   = *:64:0:*:mss*20,*:mss,sok,ts,nop,ws:df,id+:0
sig   = 6:64:0:*:mss*20,*:mss,sok,ts,nop,ws:flow:0
sig   = 4:64:0:*:mss*20,*:mss,nop,nop,sok,nop,ws:df,id+:0
sig   = 4:64:0:65495:43690,*:mss,sok,ts,nop,ws:df,id+:0

label = s:unix:Linux:2.6.39 to 3.10
sig   = *:64:0:*:mss*10,*:mss,sok,ts,nop,ws:df,id+:0
sig   = 4:64:0:*:mss*10,*:mss,nop,nop,sok,nop,ws:df,id+:0

label = s:unix:Linux:2.4
sig   = 4:64:0:*:mss*4,0:mss,sok,ts,nop,ws:df,id+:0
sig   = 4:64:0:*:mss*4,0:mss,nop,nop,sok,nop,ws:df,id+:0

label = s:unix:Linux:2.6 up to 2.6.38
sig   = *:64:0:*:mss*4,*:mss,sok,ts,nop,ws:df,id+:0
sig   = 4:64:0:*:mss*4,*:mss,nop,nop,sok,nop,ws:df,id+:0

; Its network set-up asks for a larger first window than the kernel does.
label = s:unix:Linux:(Android)
sig   = *:64:0:*:65535,6:mss,sok,ts,nop,ws:df,id+:0
sig   = *:64:0:*:65535,7:mss,sok,ts,nop,ws:df,id+:0
sig   = *:64:0:*:65535,8:mss,sok,ts,nop,ws:df,id+:0
sig   = *:64:0:*:65535,9:mss,sok,ts,nop,ws:df,id+:0
sig   = 6:64:0:*:65535,6:mss,sok,ts,nop,ws:flow:0
sig   = 6:64:0:*:65535,7:mss,sok,ts,nop,ws:flow:0
sig   = 6:64:0:*:65535,8:mss,sok,ts,nop,ws:flow:0
sig   = 6:64:0:*:65535,9:mss,sok,ts,nop,ws:flow:0

label = g:unix:Linux:
sig   = *:64:0:*:*,*:mss,sok,ts,nop,ws:df,id+:0
sig   = 6:64:0:*:*,*:mss,sok,ts,nop,ws:flow:0
sig   = 4:64:0:*:*,*:mss,nop,nop,sok,nop,ws:df,id+:0
sig   = 6:64:0:*:*,*:mss,nop,nop,sok,nop,ws:flow:0

; --- Windows

label = s:win:Windows:XP or 2003
sig   = 4:128:0:*:65535,0:mss,nop,nop,sok:df,id+:0
sig   = 4:128:0:*:mss*44,0:mss,nop,nop,sok:df,id+:0
sig   = 4:128:0:*:65535,0:mss,nop,ws,nop,nop,sok:df,id+:0

label = s:win:Windows:2000
sig   = 4:128:0:*:16384,0:mss,nop,nop,sok:df,id+:0

label = s:win:Windows:Vista, 7 or 8
sig   = *:128:0:*:8192,8:mss,nop,ws,nop,nop,sok:df,id+:0
sig   = *:128:0:*:8192,2:mss,nop,ws,nop,nop,sok:df,id+:0
sig   = *:128:0:*:8192,0:mss,nop,nop,sok:df,id+:0
sig   = *:128:0:*:8192,8:mss,nop,ws,sok,ts:df,id+:0

label = s:win:Windows:10 or 11
sig   = *:128:0:*:mss*44,8:mss,nop,ws,nop,nop,sok:df,id+:0
sig   = *:128:0:*:mss*45,8:mss,nop,ws,nop,nop,sok:df,id+:0
sig   = *:128:0:*:mss*46,8:mss,nop,ws,nop,nop,sok:df,id+:0
sig   = *:128:0:*:mss*47,8:mss,nop,ws,nop,nop,sok:df,id+:0
sig   = *:128:0:*:mss*48,8:mss,nop,ws,nop,nop,sok:df,id+:0
sig   = *:128:0:*:65535,8:mss,nop,ws,nop,nop,sok:df,id+:0

label = g:win:Windows:
sig   = *:128:0:*:*,*:mss,nop,nop,sok:df,id+:0
sig   = *:128:0:*:*,*:mss,nop,ws,nop,nop,sok:df,id+:0
sig   = *:128:0:*:*,*:mss,nop,ws,sok,ts:df,id+:0

; --- Apple. Newer ones leave the identification zero and may ask for ECN.

label = s:unix:macOS:10.14 and newer, or iOS
sig   = 4:64:0:*:65535,6:mss,nop,ws,nop,nop,ts,sok,eol+1:df:0
sig   = 4:64:0:*:65535,6:mss,nop,ws,nop,nop,ts,sok,eol+1:df,ecn:0
sig   = 6:64:0:*:65535,6:mss,nop,ws,nop,nop,ts,sok,eol+1:flow:0
sig   = 6:64:0:*:65535,6:mss,nop,ws,nop,nop,ts,sok,eol+1:ecn,flow:0

label = s:unix:macOS:10.9 to 10.13, or iOS
sig   = *:64:0:*:65535,5:mss,nop,ws,nop,nop,ts,sok,eol+1:df:0
sig   = *:64:0:*:65535,5:mss,nop,ws,nop,nop,ts,sok,eol+1:df,ecn:0
sig   = *:64:0:*:65535,5:mss,nop,ws,nop,nop,ts,sok,eol+1:df,id+:0
sig   = *:64:0:*:65535,4:mss,nop,ws,nop,nop,ts,sok,eol+1:df,id+:0

label = s:unix:Mac OS X:up to 10.8
sig   = *:64:0:*:65535,1:mss,nop,ws,nop,nop,ts,sok,eol+1:df,id+:0
sig   = *:64:0:*:65535,3:mss,nop,ws,nop,nop,ts,sok,eol+1:df,id+:0

label = g:unix:macOS:or iOS
sig   = *:64:0:*:65535,*:mss,nop,ws,nop,nop,ts,sok,eol+1:df,id+:0
sig   = *:64:0:*:65535,*:mss,nop,ws,nop,nop,ts,sok,eol+1:df:0

; --- BSD

label = s:unix:FreeBSD:12 and newer
sig   = 4:64:0:*:65535,6:mss,nop,ws,sok,ts:df:0

label = s:unix:FreeBSD:8 to 11
sig   = 4:64:0:*:65535,6:mss,nop,ws,sok,ts:df,id+:0
sig   = 4:64:0:*:65535,3:mss,nop,ws,sok,ts:df,id+:0

label = g:unix:FreeBSD:
sig   = *:64:0:*:65535,*:mss,nop,ws,sok,ts:df,id+:0
sig   = *:64:0:*:65535,*:mss,nop,ws,sok,ts:df:0
sig   = 6:64:0:*:65535,*:mss,nop,ws,sok,ts:flow:0

label = s:unix:OpenBSD:4.9 to 6.0
sig   = *:64:0:*:16384,3:mss,nop,nop,sok,nop,ws,nop,nop,ts:df,id+:0

label = s:unix:OpenBSD:6.1 and newer
sig   = *:64:0:*:16384,6:mss,nop,nop,sok,nop,ws,nop,nop,ts:df,id+:0

label = g:unix:OpenBSD:
sig   = *:64:0:*:*,*:mss,nop,nop,sok,nop,ws,nop,nop,ts:df,id+:0

; --- Programs that make packets themselves. Of half-open scans no connection
; comes; these stand for those that answer the handshake.

label = s:!:nmap:SYN scan
sys   = @unix,@win
sig   = 4:64-:0:1460:1024,0:mss::0
sig   = 4:64-:0:1460:2048,0:mss::0
sig   = 4:64-:0:1460:3072,0:mss::0
sig   = 4:64-:0:1460:4096,0:mss::0

label = s:!:nmap:OS detection
sys   = @unix,@win
sig   = 4:64-:0:1460:1,10:ws,nop,mss,ts,sok::0
sig   = 4:64-:0:1400:63,0:mss,ws,sok,ts,eol+0::0
sig   = 4:64-:0:640:4,5:ts,nop,nop,ws,nop,mss::0
sig   = 4:64-:0:0:4,10:sok,ts,ws,eol+0::0
sig   = 4:64-:0:536:16,10:mss,sok,ts,ws,eol+0::0
sig   = 4:64-:0:265:512,0:mss,sok,ts::0

label = s:!:ZMap:
sys   = @unix
sig   = 4:255:0:1460:65535,0:mss::0

label = s:!:masscan:
sys   = @unix,@win
sig   = 4:255:0:1460:1024,0:mss::0
sig   = 4:255:0:0:1024,0:::0

label = s:!:hping:
sys   = @unix
sig   = 4:64:0:0:512,0:::0

label = s:!:Scapy:
sys   = @unix
sig   = 4:64:0:0:8192,0:::0

label = s:!:Mirai-like:scanner (no options)
sys   = @unix
sig   = 4:64:0:0:*,0:::0
sig   = 4:64:0:0:*,0::df,id+:0
