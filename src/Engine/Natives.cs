using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using System.Runtime.InteropServices;
using TorchSharp;

namespace AdvContrast.Engine;

/// <summary>Finds native libraries of NuGet packages: beside a program, under a script, in the package cache.</summary>
internal static class Natives
{
    private const string LibTorchVersion = "2.10.0";

    /// <summary>The platform as packages name it, such as linux-x64.</summary>
    internal static string Platform =>
        OperatingSystem.IsWindows() ? "win-x64" : OperatingSystem.IsMacOS() ? "osx-arm64" : "linux-x64";

    /// <summary>A library's file name on this platform.</summary>
    internal static string FileName(string library) =>
        OperatingSystem.IsWindows() ? library + ".dll"
        : OperatingSystem.IsMacOS() ? $"lib{library}.dylib"
        : $"lib{library}.so";

    /// <summary>The full path of a library, or null.</summary>
    internal static string? Find(string library) =>
        Folders().Select(folder => Path.Combine(folder, FileName(library))).FirstOrDefault(File.Exists);

    /// <summary>
    /// Makes the loader answer with an already loaded library when the program asks for the copy in its own folder.
    /// </summary>
    /// <remarks>
    /// TorchSharp loads libtorch_cpu by the path in the program's folder, which would bring a second libtorch. glibc
    /// compares a path with the names of loaded libraries; its handles are link maps (link.h), whose second field is
    /// that name.
    /// </remarks>
    internal static unsafe void Answer(nint handle, string library)
    {
        var own = ProgramFolders().Select(folder => folder + FileName(library)).FirstOrDefault(File.Exists);
        if (own is not null) ((nint*)handle)[1] = Marshal.StringToCoTaskMemUTF8(own);
    }

    private static IEnumerable<string> Folders()
    {
        foreach (var folder in ProgramFolders()) yield return folder;
        var assembly = Path.GetDirectoryName(typeof(torch).Assembly.Location);
        if (string.IsNullOrEmpty(assembly)) yield break;
        yield return assembly;
        yield return Path.Combine(assembly, "runtimes", Platform, "native");
        // packages/torchsharp/VERSION/lib/FRAMEWORK
        var package = Path.GetFullPath(Path.Combine(assembly, "..", ".."));
        yield return Path.Combine(package, "runtimes", Platform, "native");
        yield return Path.Combine(
            package, "..", "..", $"libtorch-cpu-{Platform}", LibTorchVersion, "runtimes", Platform, "native");
    }

    // What the host found in the program's deps.json.
    private static IEnumerable<string> ProgramFolders() =>
        (AppContext.GetData("NATIVE_DLL_SEARCH_DIRECTORIES") as string ?? "")
        .Split(Path.PathSeparator, StringSplitOptions.RemoveEmptyEntries);
}
