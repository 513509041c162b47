/* A verifier plugin that reads its input and says yes: what remains of a Pod's admission when
   verification costs nothing. The load check compares the real plugin's rate with this one's. */
#include <stdio.h>

int main(void) {
    char input[65536];
    while (fread(input, 1, sizeof input, stdin) > 0) {
    }
    return puts("{\"isSuccess\":true,\"message\":\"only answered\"}") < 0;
}
