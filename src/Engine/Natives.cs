using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using System.Runtime.InteropServices;
using TorchSharp;

namespace AdvContrast.Engine;

/// <summary>Finds native libraries of NuGet packages: beside a program, under a script, in the package cache.</summary>
internal static partial class Natives
{
    /// <summary>The version of the libtorch packages that TorchSharp is built for.</summary>
    internal const string LibTorchVersion = "2.10.0";

    // RTLD_LAZY and RTLD_NOLOAD of dlfcn.h.
    private const int LazyAndOnlyIfLoaded = 1 | 4;

    /// <summary>The platform as packages name it, such as linux-x64.</summary>
    internal static string Platform =>
        OperatingSystem.IsWindows() ? "win-x64" : OperatingSystem.IsMacOS() ? "osx-arm64" : "linux-x64";

    /// <summary>A library's file name on this platform.</summary>
    internal static string FileName(string library)
    {
        if (OperatingSystem.IsWindows()) return library + ".dll";
        var name = library.StartsWith("lib", StringComparison.Ordinal) ? library : "lib" + library;
        return name + (OperatingSystem.IsMacOS() ? ".dylib" : ".so");
    }

    /// <summary>The full path of a library, or null.</summary>
    internal static string? Find(string library) =>
        Folders().Select(folder => Path.Combine(folder, FileName(library))).FirstOrDefault(File.Exists);

    /// <summary>The folder of a library that is in the process already, or null; asked on Linux alone.</summary>
    internal static unsafe string? FolderInProcess(string library)
    {
        if (!OperatingSystem.IsLinux()) return null;
        var handle = dlopen(FileName(library), LazyAndOnlyIfLoaded);
        return handle == 0 ? null : Path.GetDirectoryName(Marshal.PtrToStringUTF8(((nint*)handle)[1]));
    }

    /// <summary>
    /// Makes Linux answer with an already loaded library when the program asks for the one in its own folder.
    /// </summary>
    /// <remarks>
    /// TorchSharp asks for libtorch_cpu by its path in the program's folder. A second libtorch in the process would end
    /// it, and no resolver of .NET is asked first. dlopen compares the path with the names of what is loaded; its
    /// handles are link maps (link.h), whose second field is the name.
    /// </remarks>
    /// <exception cref="LibTorchException">dlopen still does not take the one for the other.</exception>
    internal static unsafe void AnswerWith(nint handle, string library)
    {
        var own = ProgramFolders().Select(folder => folder + FileName(library)).FirstOrDefault(File.Exists);
        if (own is null) return;
        ((nint*)handle)[1] = Marshal.StringToCoTaskMemUTF8(own);
        if (dlopen(own, LazyAndOnlyIfLoaded) != handle)
            throw new LibTorchException(
                $"{LibTorch.FolderVariable} cannot be used beside {own} on this system; delete that file, or unset the "
                    + "variable.");
    }

    private static IEnumerable<string> Folders()
    {
        foreach (var folder in ProgramFolders()) yield return folder;
        var assembly = Path.GetDirectoryName(typeof(torch).Assembly.Location);
        if (string.IsNullOrEmpty(assembly)) yield break;
        var native = Path.Combine("runtimes", Platform, "native");
        yield return assembly;
        yield return Path.Combine(assembly, native);
        // packages/torchsharp/VERSION/lib/FRAMEWORK
        yield return Path.GetFullPath(Path.Combine(assembly, "../..", native));
        yield return Path.GetFullPath(Path.Combine(
            assembly, "../../../..", $"libtorch-cpu-{Platform}", LibTorchVersion, native));
    }

    // What the host found in the program's deps.json, each with a separator at its end.
    private static IEnumerable<string> ProgramFolders() =>
        (AppContext.GetData("NATIVE_DLL_SEARCH_DIRECTORIES") as string ?? "")
        .Split(Path.PathSeparator, StringSplitOptions.RemoveEmptyEntries);

    [LibraryImport("libc", StringMarshalling = StringMarshalling.Utf8)]
    private static partial nint dlopen(string path, int mode);
}
