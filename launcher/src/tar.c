#include "tar.h"

#include <stddef.h>
#include <string.h>

/* Offsets and lengths of the fields used. */
/* clang-format off */
enum {
    NAME = 0, NAME_SIZE = 100,
    MODE = 100, MODE_SIZE = 8,
    LENGTH = 124, LENGTH_SIZE = 12,
    CHECKSUM = 148, CHECKSUM_SIZE = 8,
    TYPE = 156,
    MAGIC = 257, MAGIC_SIZE = 8,
    PREFIX = 345, PREFIX_SIZE = 155,
};
/* clang-format on */

/* Octal digits, ended by a space, a zero byte or the end of the field. */
static bool octal(const unsigned char *field, size_t size, uint64_t *value)
{
    size_t digits = 0;
    *value = 0;
    while (digits < size && field[digits] >= '0' && field[digits] <= '7') {
        *value = *value * 8 + (uint64_t)(field[digits] - '0');
        digits++;
    }
    return digits > 0 && (digits == size || field[digits] == ' ' || field[digits] == '\0');
}

static bool has_right_checksum(const unsigned char block[TAR_BLOCK])
{
    uint64_t stated = 0;
    uint64_t sum = 0;
    for (size_t i = 0; i < TAR_BLOCK; i++)
        /* Blanks stand for the checksum itself while it is computed (POSIX pax, "ustar Interchange Format"). */
        sum += i >= CHECKSUM && i < CHECKSUM + CHECKSUM_SIZE ? (unsigned char)' ' : block[i];
    return octal(block + CHECKSUM, CHECKSUM_SIZE, &stated) && stated == sum;
}

/* Every part of the path is a name: not empty, not "." and not "..", so it stays where it is unpacked. */
static bool is_plain(const char *path)
{
    const char *part = path;
    for (;;) {
        const size_t length = strcspn(part, "/");
        if (length == 0 || (length == 1 && part[0] == '.') || (length == 2 && part[0] == '.' && part[1] == '.'))
            return false;
        if (part[length] == '\0')
            return true;
        part += length + 1;
    }
}

/* Control characters would break the list of files that is kept beside them. */
static bool is_printable(const char *path)
{
    for (; *path != '\0'; path++) {
        if ((unsigned char)*path < ' ' || *path == 0x7f)
            return false;
    }
    return true;
}

static bool read_path(const unsigned char block[TAR_BLOCK], struct tar_entry *entry)
{
    const size_t prefix = strnlen((const char *)block + PREFIX, PREFIX_SIZE);
    const size_t name = strnlen((const char *)block + NAME, NAME_SIZE);
    size_t length = 0;
    /* The prefix and a slash go in front of a name that is too long for its own field. */
    if (prefix > 0) {
        memcpy(entry->path, block + PREFIX, prefix);
        entry->path[prefix] = '/';
        length = prefix + 1;
    }
    memcpy(entry->path + length, block + NAME, name);
    length += name;
    /* Directories have a slash at the end, which is_plain would take for an empty name. */
    if (entry->kind == TAR_DIRECTORY && length > 1 && entry->path[length - 1] == '/')
        length--;
    entry->path[length] = '\0';
    return is_plain(entry->path) && is_printable(entry->path);
}

bool tar_entry(const unsigned char block[TAR_BLOCK], struct tar_entry *entry)
{
    static const unsigned char zeros[TAR_BLOCK];
    uint64_t mode = 0;
    memset(entry, 0, sizeof *entry);
    /* Blocks of zeros end an archive. */
    if (memcmp(block, zeros, TAR_BLOCK) == 0) {
        entry->kind = TAR_END;
        return true;
    }
    /* Magic and version of POSIX; GNU's own form has others. */
    if (memcmp(block + MAGIC, "ustar\00000", MAGIC_SIZE) != 0 || !has_right_checksum(block))
        return false;
    if (!octal(block + MODE, MODE_SIZE, &mode) || !octal(block + LENGTH, LENGTH_SIZE, &entry->size))
        return false;
    entry->executable = (mode & 0100) != 0;
    switch (block[TYPE]) {
    case '0':
        entry->kind = TAR_FILE;
        break;
    case '5':
        entry->kind = TAR_DIRECTORY;
        break;
    default:
        /* The payload has files and directories alone; a link could lead out of the directory. */
        return false;
    }
    /* Its bytes would be read as the next entry. */
    if (entry->kind == TAR_DIRECTORY && entry->size != 0)
        return false;
    return read_path(block, entry);
}
