/* What the library knows: its machine, and how every call on it begins. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define NVML_NO_UNVERSIONED_FUNC_DEFS /* the older calls too, each by its own name */
#include <nvml.h>

enum { CARDS = 16, INSTANCES = 8, LINKS = 18, PROCESSES = 256, FAULTS = 64, TEXT = 128 };

typedef struct nvmlDevice_st Card;
typedef struct { char call[TEXT]; int code; } Fault;
typedef struct {
    int part, slot, gi, ci;
    char uuid[TEXT], name[TEXT];
    long long mib;
    unsigned pids[PROCESSES]; int n_pids;
    Card *card;
} Instance;
typedef struct { char bus[TEXT]; int present, to_switch; } NvLink;
struct nvmlDevice_st {
    int part, index, major, minor, numa, mig, mig_pending, mig_max, recovery, celsius, persistence, vgpu, old;
    char uuid[TEXT], bus[TEXT], name[TEXT];
    long long mib, used_mib, ecc, lost_after, calls;
    unsigned long long cpus[16];
    int remapped[4], retirement;
    Instance instances[INSTANCES]; int n_instances;
    NvLink links[LINKS]; int n_links;
    unsigned pids[PROCESSES]; int n_pids;
    Fault faults[FAULTS]; int n_faults;
    int ancestor[CARDS], p2p[CARDS];
};

typedef struct {
    nvmlReturn_t init;
    int n_cards, cuda, protected_struct, ready, pid;
    long long vanish_after, counted;
    char driver[TEXT], nvml[TEXT], hang[FAULTS][TEXT];
    int n_hang, n_faults, order[CARDS], reorder;
    Fault faults[FAULTS];
    Card cards[CARDS];
} Machine;
extern Machine M;

void load_once(void);
Card *card_of(Card *device);
nvmlReturn_t enter(const char *call, Card *device);
void pci_out(nvmlPciInfo_t *to, const char *bus);

/* A call goes on if nothing speaks against it; the second form is for calls on whole cards alone.
 * Machine files name calls without the version that a driver's library adds. */
#define ENTER(call, device) do { nvmlReturn_t code = enter(call, device); if (code) return code; } while (0)
#define WHOLE(call, device) do { ENTER(call, device); if ((device)->part) return NVML_ERROR_INVALID_ARGUMENT; } while (0)
