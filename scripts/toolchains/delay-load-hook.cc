// Windows: Node-API comes from the program that runs, whatever its name is: node.exe, Electron, a single executable.
#include <windows.h>

#include <delayimp.h>
#include <string.h>

static FARPROC WINAPI load_node(unsigned event, DelayLoadInfo* info) {
  if (event != dliNotePreLoadLibrary || _stricmp(info->szDll, "node.exe") != 0) return nullptr;
  HMODULE node = GetModuleHandleA("node.dll");
  return reinterpret_cast<FARPROC>(node != nullptr ? node : GetModuleHandleA(nullptr));
}

extern "C" PfnDliHook __pfnDliNotifyHook2 = load_node;
